"""The keys of reports that docs/monitoring.md names are those of the schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "monitoring.md").read_text()
SECTIONS = {"The report for programs": "report", "Metrics": "status", "Alerts that are worth having": "status"}


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def named(text: str) -> set[str]:
    """The keys in the first column of tables, in the text of lists, and in filters of jq."""
    cells = re.findall(r"(?m)^\| (`.*?) \|", text) + re.findall(r"(?m)^- .*$", text)
    keys = {key.partition(".")[0] for cell in cells for key in re.findall(r"`([a-z][a-z_]+(?:\.\w+)?)`", cell)}
    return keys | {
        key for line in re.findall(r"jq .*|^ +\".*", text, re.M) for key in re.findall(r"[ (:]\.([a-z_]+)", line)
    }


@pytest.mark.parametrize("title", SECTIONS)
def test_the_keys_of_a_report_are_there(title: str) -> None:
    there = set(json.loads((DOCS / "report.schema.json").read_text())["$defs"][SECTIONS[title]]["properties"])
    inside = {"path", "reason", "killed", "silent", "sacct", "files"}  # of an entry, values, a command
    keys = named(section(title))
    assert len(keys) > 2 and keys - inside <= there, keys - inside - there
