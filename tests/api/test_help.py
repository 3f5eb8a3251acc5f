"""help(hpcp_mpi): a page one can work from, whose examples do what they show; and what the import costs."""

from __future__ import annotations

import doctest
import inspect
import pydoc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hpcp_mpi
from tests.api.test_keywords import FUNCTIONS, keywords_of
from tests.support.launch import REPOSITORY
from tests.support.trees import File, build


def nothing() -> None:
    """Prepare nothing."""


# What the examples need beside a directory `run1`.
BEFORE: dict[str, Callable[[], object]] = {
    "mirror": lambda: hpcp_mpi.copy("run1", "backup", exclude="*.tmp"),
    "compare": lambda: hpcp_mpi.copy("run1", "backup", exclude="*.tmp"),
    "verify": lambda: hpcp_mpi.copy("run1", "backup"),
}


@pytest.mark.parametrize("name", ["hpcp_mpi", *FUNCTIONS, "status"])
def test_the_examples_do_what_they_show(name: str, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(on_tmpfs / "run1", {"a": File(b"aaaaaa"), "b": File(b"bbbbbb"), "c.tmp": File(b"ccc")})
    monkeypatch.chdir(on_tmpfs)
    BEFORE.get(name, nothing)()
    shown = hpcp_mpi if name == "hpcp_mpi" else getattr(hpcp_mpi, name)
    examples = doctest.DocTestFinder(recurse=False).find(shown, name, globs={"hpcp_mpi": hpcp_mpi})
    said: list[str] = []
    results = [doctest.DocTestRunner().run(each, out=said.append) for each in examples]
    assert sum(result.attempted for result in results) > 0
    assert not any(result.failed for result in results), "".join(said)


def test_the_page_has_every_function_with_its_keywords_and_fits_in_some_screens() -> None:
    page = pydoc.plain(pydoc.render_doc(hpcp_mpi))
    assert len(page.splitlines()) < 300
    assert sorted(hpcp_mpi.__all__) == sorted([*FUNCTIONS, "status"])
    for name in hpcp_mpi.__all__:
        assert f"    {name}(" in page
        assert inspect.getdoc(getattr(hpcp_mpi, name)).splitlines()[0] in page  # type: ignore[union-attr]
    assert "exclude: 'Paths' = ()" in page


@pytest.mark.parametrize("function", ["copy", "mirror", "move", "compare", "list_files"])
def test_the_text_of_a_function_names_no_keyword_that_it_does_not_have(function: str) -> None:
    text = inspect.getdoc(getattr(hpcp_mpi, function)) or ""
    known = {*keywords_of(function), *inspect.signature(getattr(hpcp_mpi, function)).parameters}
    lines = [line for line in text.splitlines() if line[:1].isalpha() and "   " in line and not line.startswith(">")]
    named = {word.strip(" ,") for line in lines for word in line.split("  ")[0].split(",")}
    assert named and named <= known, named - known


def test_the_import_initialises_nothing_and_loads_one_module() -> None:
    program = (
        "import sys; before = set(sys.modules); import hpcp_mpi; new = set(sys.modules) - before\n"
        "dear = 'logging', 'threading', 'numpy', 'sqlite3', 'inspect', 'signal'\n"
        "print(*sorted(name for name in new if name.startswith(('hpcp_mpi', 'mpi4py')) or name in dear))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["hpcp_mpi"]


def test_what_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'hpcp_mpi' has no attribute 'cpoy'"):
        hpcp_mpi.cpoy  # type: ignore[attr-defined]  # noqa: B018
    names = {name for names in hpcp_mpi._HOMES.values() for name in names}
    assert names | {"__version__"} <= set(dir(hpcp_mpi))
    assert all(getattr(hpcp_mpi, name).__name__ == name for name in names)


def test_what_a_debugger_shows_is_a_line(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {str(number): File(b"x" * 1000) for number in range(1200)})
    report = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst", exclude_optional="nothing")
    assert repr(report) == "<Report copy: 1,200 files, 1.14 MiB copied, exit code 0>"
    assert repr(report.outcome.copied) == "Tally(files=1200, directories=1, bytes=1200000)"
    assert repr(report.options) == "Options(optional_excludes=(b'nothing',), certain=True)"
    now = hpcp_mpi.Progress("copying", entries=120, entries_total=3000, bytes=1 << 20, bytes_total=1 << 22)
    assert repr(now) == "<Progress copying: 120 of 3,000 entries found so far, 1.00 MiB of 4.00 MiB>"
    assert repr(hpcp_mpi.Failure(b"/a", "no")) == "Failure(path=b'/a', reason='no', vanished=False, attempted=Tally())"
