"""The headings of docs/troubleshooting.md quote texts of the program; `…` stands for what is filled in."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "hpcp_mpi"
ROOMS = sorted(each for each in PACKAGE.iterdir() if each.is_dir())
QUOTED = re.findall(r"(?m)^### `(.+)`$", (REPOSITORY / "docs/troubleshooting.md").read_text())
GAP = "…"


def texts_of(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are no docstrings, with a gap for each value that is formatted into one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield re.sub(r"\{\w*\}", GAP, node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else GAP for each in node.values)


@functools.cache
def texts() -> str:
    """The strings of the program, one a line."""
    found = {text for room in ROOMS for path in room.rglob("*.py") for text in texts_of(path)}
    return "\n".join(sorted(text.replace("\n", " ") for text in found))


def is_said(quoted: str) -> bool:
    """Return whether a text of the program has the words of a quotation, and gaps where it has them."""
    words = [re.escape(each) for each in quoted.split(GAP)]
    return re.search(f"{GAP}+".join(words), texts()) is not None


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_message_is_one_of_the_program(quoted: str) -> None:
    assert is_said(quoted)


def test_a_message_that_is_none_is_found() -> None:
    assert is_said("cannot use the source …: …") and is_said("a removal needs confirmation, and there is no terminal")
    assert not is_said("cannot use the origin …: …") and not is_said("cannot use … source")


def test_the_page_has_what_users_meet_most() -> None:
    assert len(QUOTED) == len(set(QUOTED)) >= 40
