"""A move removes what this run has proved: all bytes and all metadata are in one copy, which vouches for one source."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.operations import dispatch
from hpcp_mpi.operations.move import worker
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.units import Batch, Kind
from tests.operations.move.test_move import before_the_removal, names, same_size_and_time
from tests.support import direct, oracle
from tests.support.copies import copy, run
from tests.support.faultfs import mounted
from tests.support.launch import World
from tests.support.marks import needs_commands, needs_fuse, needs_root
from tests.support.trees import Dir, File, HardLink, Symlink, build

PLAIN, RANKS = World("plain"), World("mpich", 3)
WHEN = 10**18  # an mtime that several files have
LONG = 200_000  # bytes: more than the end that is compared by default
LACKS = "its copy does not have the same {}; kept (--accept-loss removes it nevertheless)"


def contents(*roots: Path) -> set[bytes]:
    """What all files hold that lie below roots."""
    found = set()
    for root in roots:
        found |= {path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    return found


def old_copy(src: Path, dst: Path) -> None:
    """An old copy that looks equal: it has the size, the mtime and the end of what the source is now."""
    end = b"e" * LONG
    build(src, {"d": Dir({"f": File(b"new" + end, mtime_ns=WHEN), "big": File(b"NEW" + 20 * end, mtime_ns=WHEN)})})
    build(dst, {"d": Dir({"f": File(b"old" + end, mtime_ns=WHEN), "big": File(b"OLD" + 20 * end, mtime_ns=WHEN)})})
    os.link(src / "d/f", src / "d/g")
    os.link(dst / "d/f", dst / "d/g")


OPTIONS = ["", "--modify-window 5", "-hs 0", "--verify", "-co", "--split-size 1M"]


@pytest.mark.parametrize(
    "options, world", [*((each, PLAIN) for each in OPTIONS), ("-hs 0 -pfl", RANKS), ("--split-size 1M", RANKS)], ids=str
)
def test_what_only_looks_like_a_copy_is_copied_before_its_source_goes(
    options: str, world: World, on_tmpfs: Path
) -> None:
    src, dst, twin = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "twin"
    old_copy(src, dst)
    run(["cp", "-a", src, twin])
    copy(src, dst, *options.split())  # as it is taken for equal without a move, but for -co
    assert (dst / "d/f").read_bytes()[:3] == b"old" or options == "-co"
    copy(src, "-d", dst, "-rm", "-rf", *options.split(), world=world)
    run(["diff", "-r", twin, dst])
    assert not src.exists()


def test_a_dry_run_of_a_move_says_what_would_be_copied(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    old_copy(src, dst)
    shown = copy(src, "-d", dst, "-rm", "-n").done.stdout
    assert " d/f" in shown and " d/big" in shown


# --- metadata


@contextmanager
def without(what: str, place: Path) -> Iterator[Path]:
    """Yield a place that does not store something."""
    backing = place / "backing"
    backing.mkdir()
    if what == "acl":
        with mounted(backing) as mount:
            yield mount
    else:
        with mounted(backing, fail_op="setxattr", fail_errno=errno.EOPNOTSUPP) as mount:
            yield mount


def give(what: str, path: Path) -> str:
    """Give a file or directory something to lose; return what the tool calls it."""
    if what == "acl":
        run(["setfacl", "-m", "u:1:r", path])
        return "system.posix_acl_access"
    os.setxattr(path, "user.note", b"the only one")
    return "user.note"


@needs_fuse
@needs_commands("setfacl", "rsync")
@pytest.mark.parametrize("what", ["acl", "xattr"])
def test_what_the_destination_does_not_store_keeps_its_source(what: str, on_disk: Path) -> None:
    src = on_disk / "src"
    build(src, {"d": Dir({"f": File(b"f"), "plain": File(b"p")}), "e": Dir({"g": File(b"g")})})
    lost = give(what, src / "d/f")
    assert give(what, src / "e") == lost
    with without(what, on_disk) as dst:
        run_ = copy(src, "-d", dst, "-rm", "-rf", code=23)
        assert names(src) == {b"d", b"d/f", b"e", b"e/g"}
        assert set(run_.failures) == {f"{src}/d/f", f"{src}/e"}
        assert contents(dst) == {b"f", b"p", b"g"}
        if what == "acl":  # the same again: what stayed is identical, and stays
            again = copy(src, "-d", dst, "-rm", "-rf", code=23)
            assert again.copied_entries == 0
            assert again.failures == {f"{src}/{name}": LACKS.format(lost) for name in ("d/f", "e")}
        assert names(src) == {b"d", b"d/f", b"e", b"e/g"}
        copy(src, "-d", dst, "-rm", "-rf", "--accept-loss")
        assert not src.exists() and contents(dst) == {b"f", b"p", b"g"}


@needs_root
def test_a_user_does_not_lose_who_owned_a_file_by_a_move(on_tmpfs: Path, everyone: Callable[[Path], Path]) -> None:
    build(on_tmpfs, {"to": Dir({"src": Dir({"mine": File(b"m"), "theirs": File(b"t", mode=0o644)})})})
    to = everyone(on_tmpfs / "to")
    src = to / "src"
    os.chown(src / "theirs", 0, 0)
    run_ = copy(src, "-d", to / "dst", "-rm", "-rf", code=23, user="nobody")
    assert names(src) == {b"theirs"} and (src / "theirs").stat().st_uid == 0
    assert run_.failures == {f"{src}/theirs": LACKS.format("owner, group")}
    copy(src, "-d", to / "dst", "-rm", "-rf", "--accept-loss", user="nobody")
    assert not src.exists() and contents(to) == {b"m", b"t"}


# --- one copy vouches for one source


def alike(*names: str) -> dict[str, File]:
    """Files that differ in nothing but their names and their bytes."""
    return {name: File(name.encode()[-1:] * 9, mtime_ns=WHEN) for name in names}


@needs_fuse
@needs_root
@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_two_names_that_are_one_copy_do_not_both_go(world: World, on_tmpfs: Path) -> None:
    src = on_tmpfs / "src"
    build(src, {
        **alike("a1", "A1"),
        "D": Dir({"x": File(b"111111", mtime_ns=WHEN), "only": File(b"o")}),
        "d": Dir({"x": File(b"222222", mtime_ns=WHEN), "other": File(b"p")}),
        "dir": Dir({"F": File(b"3333333", mtime_ns=WHEN), "f": File(b"4444444", mtime_ns=WHEN)}),
    })  # fmt: skip
    (src / "A1").write_bytes(b"555555555")
    os.utime(src / "A1", ns=(WHEN, WHEN))
    before = contents(src)
    (on_tmpfs / "backing").mkdir()
    with mounted(on_tmpfs / "backing", fold=1) as dst:
        run_ = copy(src, "-d", dst, "-rm", "-rf", world=world, code=23)
        assert contents(src, dst) == before
        assert run_.failures and src.exists()


@needs_root
@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_two_directories_whose_copies_are_one_do_not_both_go(world: World, on_tmpfs: Path) -> None:
    """Two directories of the destination are one, mounted twice: the second copy replaces the first."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    files = [f"f{number}" for number in range(20)]
    build(src, {
        "one": Dir({name: File(b"111", mtime_ns=WHEN) for name in files}),
        "two": Dir({name: File(b"222", mtime_ns=WHEN) for name in files}),
    })  # fmt: skip
    build(dst, {"one": Dir({}), "two": Dir({})})
    run(["mount", "--bind", dst / "one", dst / "two"])
    try:
        run_ = copy(src, "-d", dst, "-rm", "-rf", world=world, code=23)
        assert contents(src, dst) == {b"111", b"222"}
        assert "its copy holds other bytes; kept" in run_.failures.values()
    finally:
        run(["umount", dst / "two"])


def test_a_copy_that_is_called_otherwise_by_now_is_none(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"f": File(b"f"), "g": File(b"g")})
    with before_the_removal(lambda: os.rename(dst / "f", dst / "F"), monkeypatch):
        report = direct.copy(src, dst, move=True)
    assert names(src) == {b"f"} and report.exit_code == 23


# --- files with several names, whose change times say less


@pytest.mark.parametrize("happens", ["written in secret", "replaced"])
def test_a_file_of_several_names_that_is_another_one_by_now_stays(
    happens: str, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst, aside = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "aside"
    build(src, {"f": File(b"12345", mtime_ns=WHEN), "g": HardLink("f"), "h": File(b"h")})
    build(aside, {"f": File(b"abcde", mtime_ns=WHEN)})

    def change() -> None:
        if happens == "replaced":
            for name in ("f", "g"):
                os.unlink(src / name)
                os.link(aside / "f", src / name)
            os.unlink(aside / "f")
        else:
            same_size_and_time(src / "f")

    with before_the_removal(change, monkeypatch):
        report = direct.copy(src, dst, move=True)
    assert names(src) == {b"f", b"g"} and report.exit_code == 23
    assert {failure.reason for failure in report.failures} == {"its copy holds other bytes; kept"}
    assert (src / "f").read_bytes() in (b"abcde", b"54321") and (dst / "f").read_bytes() == b"12345"


@needs_fuse
@pytest.mark.parametrize("happens", ["unreadable", "gone"])
@pytest.mark.parametrize("copies", [1, 2], ids=["one old copy", "of two names"])
def test_what_was_linked_to_an_old_copy_as_the_first_name_failed_stays(
    copies: int, happens: str, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other name is linked to what was there before, which looks equal."""
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"first": File(b"new", mtime_ns=WHEN), "b": Dir({"other": HardLink("first")})})
    build(dst, {"first": File(b"old", mtime_ns=WHEN), "b": Dir({})})
    if copies == 2:
        os.link(dst / "first", dst / "aside")
    checked = dispatch.TOGETHER[Kind.CHECK]

    def check(context: JobContext, batches: Sequence[Batch], outcome: Outcome) -> None:
        if happens == "gone":
            (on_tmpfs / "src/first").unlink(missing_ok=True)
        checked(context, batches, outcome)

    monkeypatch.setitem(dispatch.TOGETHER, Kind.CHECK, check)
    with mounted(src, eio_read="first" if happens == "unreadable" else "-") as mounted_src:
        report = direct.copy(mounted_src, dst, move=True, parallel_listing=False)
        assert report.exit_code in (23, 24)
    assert b"new" in contents(src), "else it is nowhere"
    assert (src / "b/other").exists() or (dst / "b/other").read_bytes() == b"new"


@pytest.mark.parametrize("world", [PLAIN, RANKS], ids=str)
def test_files_of_many_names_are_moved_with_all_of_them(world: World, on_tmpfs: Path) -> None:
    src, dst, twin = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "twin"
    build(src, {f"d{i}": Dir({"f": File(b"%d" % i), "l": Symlink("f")}) for i in range(8)})
    for i in range(8):
        for j in range(8):
            os.link(src / f"d{i}/f", src / f"d{j}/name{i}")
    run(["cp", "-a", src, twin])
    copy(src, "-d", dst, "-rm", "-rf", "-f", "1", "--chunk-size", "1", world=world)
    oracle.assert_equal_trees(twin, dst)
    assert not src.exists()


@pytest.mark.parametrize(
    "options",
    [{}, {"parallel_listing": True, "chunk_files": 1}, {"content_only": True}],
    ids=["chunks", "all-list", "content-only"],
)
def test_a_directory_that_takes_the_place_of_a_copied_one_is_not_taken_for_it(
    options: dict[str, Any], on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a deployment does it: all files of both have one time, and neither they nor what they are in changed."""
    for name, letter in (("src/d", b"o"), ("new", b"n")):
        files = {f"f{i}": File(letter, mtime_ns=WHEN) for i in range(3)}
        build(on_tmpfs / name, {"sub": Dir({"s": Dir(files, mtime_ns=WHEN), **files}, mtime_ns=WHEN)})

    def exchange() -> None:
        os.rename(on_tmpfs / "src/d/sub", on_tmpfs / "old")
        os.rename(on_tmpfs / "new/sub", on_tmpfs / "src/d/sub")

    with before_the_removal(exchange, monkeypatch):
        report = direct.copy([on_tmpfs / "src"], on_tmpfs / "dst", move=True, **options)
    assert contents(on_tmpfs / "src") == {b"n"} and contents(on_tmpfs / "dst", on_tmpfs / "old") == {b"o"}
    assert {failure.reason for failure in report.outcome.failures} == {"its copy holds other bytes; kept"}


def test_no_directory_is_doubted_that_nobody_changed(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading all again would take a move twice as long."""
    compared: list[bytes] = []
    monkeypatch.setattr(worker, "same_content", lambda *these: compared.append(these[1][1]) or True)
    build(on_tmpfs / "src", {f"d{i}": Dir({"s": Dir({"f": File(b"f")}), "g": File(b"g")}) for i in range(20)})
    time.sleep(0.05)
    report = direct.copy(on_tmpfs / "src", on_tmpfs / "dst", move=True, chunk_files=1)
    assert report.outcome.removed.files == 40 and compared == []
