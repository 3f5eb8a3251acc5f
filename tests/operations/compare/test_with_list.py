"""Comparing with a file list: the list says what was there, and nothing is written to it."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.operations import session
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from tests.support import oracle
from tests.support.comparing import Groups, groups
from tests.support.copies import PLAIN, changed, copy, refused, state
from tests.support.effort import many
from tests.support.launch import World
from tests.support.marks import each_world, needs_root
from tests.support.small_trees import Tree, trees
from tests.support.torture import NAMES
from tests.support.trees import Dir, Fifo, File, Symlink, build

T = 1_600_000_000 * 10**9
OLD = {
    "a": File(b"a"), "d": Dir({"x": File(b"1"), "gone": File(b"")}), "ln": Symlink("a"), "same": File(b"s"),
    "kind": Fifo(),
}  # fmt: skip
NEW = {
    "a": File(b"b"), "d": Dir({"x": File(b"1"), "new": File(b"")}), "ln": Symlink("d"), "same": File(b"s"),
    "kind": Dir(),
}  # fmt: skip
LINES = """\
Added (in the source, not in the list): 2
d/new
kind/
Modified: 2
>fc........ a
cLc........ ln
Deleted (in the list, not in the source): 2
d/gone
kind
"""
TABLE = b"""#hpcp-changes\t1
#op\tpath\told\tnew
D\td/gone\tf:?:?:?:?:?:ef46db3751d8e999:?\t-
D\tkind\tp:?:?:?:?\t-
A\td/new\t-\tf:?:?:?:?:?:ef46db3751d8e999:?
A\tkind/\t-\td:?:?:?:?
M\ta\tf:?:?:?:?:?:d24ec4f1a98c6e5b:?\tf:?:?:?:?:?:78452aa11af39f9b:?
M\tln\tl:a\tl:d
"""


@pytest.fixture
def listed(on_tmpfs: Path) -> tuple[Path, Path]:
    """A tree, and the list of what was there."""
    root, names = on_tmpfs / "root", on_tmpfs / "list"
    build(on_tmpfs / "old", OLD)
    assert PLAIN.run(["-fl", names, f"{on_tmpfs}/old/"]).returncode == 0
    build(root, NEW)
    return root, names


def contents(root: Path) -> dict[bytes, tuple[int, bytes]]:
    """Type and content of each entry below a root, by path; directories end in `/`."""
    found = {}
    for path, status in oracle.lstats(root).items():
        place, kind = root / os.fsdecode(path), stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            found[path + b"/"] = kind, b""
        elif kind == stat.S_IFLNK:
            found[path] = kind, os.fsencode(os.readlink(place))
        else:
            found[path] = kind, hashlib.sha256(place.read_bytes()).digest() if kind == stat.S_IFREG else b""
    return found


def against_list(root: Path, names: Path, **request: Any) -> Report:
    options = Options(**{"full_hash": True, **request.pop("options", {})})
    place = {"sources": (os.fsencode(root) + b"/",), **request}
    return session.run(Request(Verb.COMPARE, options=options, file_list=os.fsencode(names), **place), {})


@settings(max_examples=many(40), deadline=None, suppress_health_check=list(HealthCheck))
@given(trees(), trees(), st.booleans())
def test_a_tree_differs_from_a_list_in_what_find_and_hashes_tell(tree: Tree, other: Tree, two: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        new, old, names, ours = (Path(place) / name for name in ("new", "old", "list", "ours"))
        build(new, tree)
        build(old, other)
        for root, path in ((old, names), (new, ours)):
            options = Options(full_hash=True)
            report = session.run(
                Request(Verb.LIST, (os.fsencode(root) + b"/",), options=options, file_list=os.fsencode(path)), {}
            )
            assert report.exit_code == 0
        before = names.read_bytes(), state(new)
        lists = {"sources": (), "source_list": os.fsencode(ours)} if two else {}
        report = against_list(new, names, **lists)
        one, another = contents(new), contents(old)
        known = {path for path in one.keys() & another.keys() if one[path][0] == another[path][0]}
        wanted: Groups = {
            "added": one.keys() - known,
            "modified": {path for path in known if one[path] != another[path]},
            "deleted": another.keys() - known,
        }
        assert groups(report) == wanted
        assert before[0] == names.read_bytes() and changed(before[1], state(new)) == set()
        assert report.scanned.minus(report.outcome.skipped).entries == len(wanted["added"] | wanted["modified"])


@each_world((3,), launchers=("plain", "mpich"))
def test_the_groups_are_shown_and_the_exit_code_tells(world: World, listed: tuple[Path, Path]) -> None:
    found = copy(f"{listed[0]}/", "-fl", listed[1], "-cfl", world=world, code=3)
    assert found.done.stdout == LINES
    assert found.report["differences"] == {"added": 2, "modified": 2, "deleted": 2}
    same = copy(f"{listed[0].with_name('old')}/", "-fl", listed[1], "-cfl", world=world)
    assert same.report["differences"] == {"added": 0, "modified": 0, "deleted": 0}


def test_a_list_whose_names_begin_with_another_directory_is_told_to_a_reader(listed: tuple[Path, Path]) -> None:
    old, names = listed[0].with_name("old"), listed[1].with_name("by name")
    assert PLAIN.run(["-fl", names, old]).returncode == 0
    told = "no name of it is compared: they begin with old/, and those of what is compared with root/."
    for source, known, code, is_told in (
        (listed[0], names, 3, True),
        (old, names, 0, False),
        (f"{listed[0]}/", listed[1], 3, False),
    ):
        done = PLAIN.run([source, "-fl", known, "-cfl"])
        assert done.returncode == code and (told in done.stderr) is is_told, str(done)


def test_the_table_has_what_lists_know(listed: tuple[Path, Path], on_tmpfs: Path) -> None:
    copy(f"{listed[0]}/", "-fl", listed[1], "-dfl", on_tmpfs / "table", code=3)
    assert (on_tmpfs / "table").read_bytes() == TABLE


def test_the_list_for_tar_names_what_is_new(listed: tuple[Path, Path], on_tmpfs: Path) -> None:
    copy(f"{listed[0]}/", "-fl", listed[1], "-tdfl", "-dfl", on_tmpfs / "names", code=3)
    assert (on_tmpfs / "names").read_text().splitlines() == ["a", "d/new", "kind/", "ln"]


@pytest.mark.parametrize("options", [("-nhfl",), ("-0",)], ids=["names", "nul"])
def test_names_are_compared_with_a_list_of_names(options: tuple[str, ...], on_tmpfs: Path) -> None:
    tree = {b"d": Dir({name: File(b"x") for name in NAMES}), "more": File()}
    build(on_tmpfs / "t", tree)
    assert PLAIN.run(["-fl", on_tmpfs / "list", f"{on_tmpfs}/t/", *options]).returncode == 0
    copy(f"{on_tmpfs}/t/", "-fl", on_tmpfs / "list", "-cfl", *options, code=0)
    (on_tmpfs / "t/more").unlink()
    (on_tmpfs / "t/d/-rf").write_text("other content")
    found = copy(f"{on_tmpfs}/t/", "-fl", on_tmpfs / "list", "-cfl", *options, code=3)
    assert found.report["paths"] == {"added": [], "modified": [], "deleted": ["more"]}
    assert found.notes == {}


def test_what_a_list_does_not_know_is_not_compared_and_said_once(listed: tuple[Path, Path], on_tmpfs: Path) -> None:
    root, names = listed[0].with_name("old"), on_tmpfs / "names"
    assert PLAIN.run(["-fl", names, "-nhfl", f"{root}/"]).returncode == 0
    found = copy(f"{root}/", "-fl", names, "-cfl", code=0)
    assert list(found.notes.values()) == [
        "only the names of 6 entries were compared: no hash or target of them is known"
    ]


def test_a_list_that_hpcp_wrote_is_read(listed: tuple[Path, Path], on_tmpfs: Path) -> None:
    hpcps = on_tmpfs / "hpcps"
    hpcps.write_text("./\na:d24ec4f1a98c6e5b\nd/\nd/gone:ef46db3751d8e999\nd/x:b7b41276360564d4\nln:a\nsame:\n")
    found = copy(f"{listed[0].with_name('old')}/", "-fl", hpcps, "-cfl", code=3)
    assert found.report["paths"] == {"added": ["kind"], "modified": [], "deleted": []}


@pytest.mark.parametrize(("text", "says"), [
    (None, "No such file"), (b"", "is empty"), (b"a:b:c\n", "line 1.*second"), (b"a\nb", "line 2.*not complete"),
])  # fmt: skip
def test_a_list_that_cannot_be_believed_is_refused(text: bytes | None, says: str, listed: tuple[Path, Path]) -> None:
    names = listed[1].with_name("broken")
    if text is not None:
        names.write_bytes(text)
    refused(f"{listed[0]}/", "-fl", names, "-cfl", says=says, code=[1])
    refused("-sfl", names, "-fl", listed[1], "-cfl", says=says, code=[1])


def test_the_list_is_never_replaced_by_the_changes(listed: tuple[Path, Path]) -> None:
    before = listed[1].read_bytes()
    for other in (listed[1], listed[1].parent / "root" / ".." / "list"):
        refused(f"{listed[0]}/", "-fl", listed[1], "-dfl", other, code=[2])
    assert listed[1].read_bytes() == before


@needs_root
def test_what_cannot_be_read_is_named_and_makes_it_23(on_tmpfs: Path, everyone: Any) -> None:
    root = everyone(on_tmpfs / "root")
    everyone(on_tmpfs)
    build(root, {"f": File(b"f"), "g": File(b"g")}, owner=(65534, 65534))
    assert PLAIN.run(["-fl", on_tmpfs / "list", f"{root}/"]).returncode == 0
    os.chmod(root / "f", 0)
    found = copy(f"{root}/", "-fl", on_tmpfs / "list", "-cfl", code=23, user="nobody")
    assert [Path(path).name for path in found.failures] == ["f"]
    assert found.report["differences"] == {"added": 0, "modified": 0, "deleted": 0}
