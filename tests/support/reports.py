"""What is true of every report that --json writes: its schema, and that its numbers add up."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = Path(__file__).resolve().parents[2] / "docs/report.schema.json"
KINDS = ("files", "directories", "links", "other", "bytes")
PARTS = ("copied_before", "copied", "metadata_only", "different", "identical", "kept", "failed", "left")


@cache
def _validators() -> dict[str, Any]:
    """A validator of each kind of report: that of both would name the one that the report is not."""
    schema = json.loads(SCHEMA.read_text())
    definitions = {"$defs": schema["$defs"]}
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema)
    return {kind: validator({**definitions, "$ref": f"#/$defs/{kind}"}) for kind in ("report", "status")}


def check(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report that is as its schema says, and in which nothing is counted twice or forgotten."""
    _validators()[report["kind"]].validate(report)
    if report["kind"] == "report" and report["verb"] != "list":
        assert unexplained(report) == {}, report
    return report


def unexplained(report: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The columns in which what was found is not what became of it: both numbers."""
    parts = (*PARTS, *(("removed",) if report["verb"] == "remove" else ()))
    assert all(report[name][kind] >= 0 for name in ("found", *parts) for kind in KINDS), report
    sums = {kind: sum(report[name][kind] for name in parts) for kind in KINDS}
    return {kind: (report["found"][kind], sums[kind]) for kind in KINDS if report["found"][kind] != sums[kind]}
