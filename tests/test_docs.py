"""Documents, docstrings and comments name files that exist, and links lead somewhere."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "hpcp_mpi"
# What a path may be relative to. Below operations/ the folders of a copy are named without it.
BASES = (REPOSITORY, PACKAGE, PACKAGE / "operations", PACKAGE / "operations/copy")
# Folders of the project, and two that are no more: whatever looks like a path into one of them has to be there.
FOLDERS = {each.name for base in BASES for each in base.iterdir() if each.is_dir()} - {"build", "dist"} | {
    "plan",
    "stealing",
}
PATH = re.compile(r"(?<![\w/.~<$=-])(?:[A-Za-z_][\w-]*|\{[\w,]+\})(?:/(?:[\w*][\w.*-]*|\{[\w,]+\}[\w.]*))+/?")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"(?m)^#+ (.+)$")
FENCE = re.compile(r"(?ms)^```.*?^```$")
SAID = re.compile(r"`([a-z_0-9]+)`")
# Made while the project is used, and alternatives that look like a path.
MADE = re.compile(r"build/.*|\.?venv.*|docs/SRC")


def documents() -> list[Path]:
    """Every document of the project, but for what its tools put into it."""
    return [
        each
        for pattern in ("*.md", "docs/*.md", "slurm/*.md", "docker/*.md")
        for each in sorted(REPOSITORY.glob(pattern))
    ]


def sources() -> list[Path]:
    return [each for room in ("hpcp_mpi", "tests") for each in sorted((REPOSITORY / room).rglob("*.py"))]


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield a source's docstrings and comments, each with its line; of one in which nothing is missing, nothing."""
    text = path.read_text()
    if not missing(text):
        return  # parsing takes long
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (said := ast.get_docstring(node)):
            yield node.body[0].lineno, said
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def spelt_out(path: str) -> list[str]:
    """`tests/{host,ledger}` -> tests/host, tests/ledger"""
    braces = re.search(r"\{([\w,]+)\}", path)
    if braces is None:
        return [path]
    ways = (path[: braces.start()] + each + path[braces.end() :] for each in braces[1].split(","))
    return [one for way in ways for one in spelt_out(way)]


def missing(text: str) -> list[str]:
    """The paths into the project that text names, and that do not exist. The ending .py may be left out."""
    found = []
    for match in PATH.finditer(text):
        for path in spelt_out(match[0].rstrip(".")):
            first, ending = path.split("/")[0], path.endswith(".py")
            if (first in FOLDERS or ending) and not MADE.fullmatch(path) and not exists(path):
                found.append(path)
    return found


def exists(path: str) -> bool:
    if "*" in path:
        return any(next(base.glob(path.rstrip("/")), None) for base in BASES)
    return any((base / path).exists() or (base / f"{path}.py").exists() for base in BASES)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and others make them."""
    headings = HEADING.findall(FENCE.sub("", document.read_text()))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_document_names_files_that_exist_and_its_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    assert missing(text) == []
    for link in LINK.findall(FENCE.sub("", text)):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_readme_is_for_who_sees_it_first() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200


def test_the_front_page_leads_to_every_document() -> None:
    there = {each.name for each in (REPOSITORY / "docs").glob("*.md")} - {"index.md"}
    assert there <= set(LINK.findall((REPOSITORY / "docs/index.md").read_text()))


def test_docstrings_and_comments_name_files_that_exist() -> None:
    assert [
        f"{path.relative_to(REPOSITORY)}:{line}: {name}"
        for path in sources()
        for line, text in prose_of(path)
        for name in missing(text)
    ] == []


def signs() -> list[tuple[Path, set[str]]]:
    """The signs of packages that name their modules, and what they name."""
    found = [each for each in PACKAGE.rglob("__init__.py") if each.parent != PACKAGE]
    named = [(each, set(SAID.findall(ast.get_docstring(ast.parse(each.read_text())) or ""))) for each in found]
    return [(sign, names) for sign, names in named if names]


def test_the_sign_of_a_package_names_all_its_modules() -> None:
    modules = [(sign, names, {each.stem for each in sign.parent.glob("*.py")}) for sign, names in signs()]
    assert [
        f"{sign.relative_to(REPOSITORY)}: {name}"
        for sign, names, there in modules
        for name in sorted(there - names - {"__init__"})
    ] == []


def test_the_sign_of_a_package_names_modules_that_exist() -> None:
    assert [
        f"{sign.relative_to(REPOSITORY)}: {name}"
        for sign, names in signs()
        for name in sorted(names)
        if not any(sign.parent.parent.rglob(f"{name}.py")) and not any(sign.parent.parent.rglob(name))
    ] == []


def test_a_path_that_does_not_exist_is_found() -> None:
    said = (
        "see `host/stage.py`, host/stage, `plan/gather`, cli/{help,none}.py and [this](docs/decisions.md); tests/*.py"
    )
    assert missing(said) == ["plan/gather", "cli/none.py"]
    assert missing("and/or, a/b.txt, src/dst, /usr/share/doc, ~/cli/x, https://example.org/cli/x.py") == []
