"""What a listing says of two directories: told apart in the tight loop, and rightly so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host import listing as listings
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.operations.prepare.arguments import root_of
from hpcp_mpi.operations.scan.lister import Lister, builder_for
from hpcp_mpi.operations.scan.records import ClassifiedEntries
from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.tally import NOTHING, Tally
from tests.support.trees import Dir, Fifo, File, HardLink, Symlink, build

T = 1_600_000_000 * 10**9


def listed(src: Path, dst: Path, new: bool = False, **options: object) -> list[ClassifiedEntries]:
    """List src beside dst, as ranks do; new: as if nothing were there. What is in the way of a directory may go."""
    options.setdefault("backup_dir", b"/elsewhere")
    source, dest = root_of(os.fsencode(src)), root_of(os.fsencode(dst))
    job = Job(Options(**options), (source,), "token", dest.path, dest, abilities=Abilities())  # type: ignore[arg-type]
    place = JobContext(job, Commands(), 1)
    folder = builder_for(job.options).root(0, b"", new)
    failures: list[Failure] = []
    found = list(Lister(place, lambda path, note: None).listings(folder, failures))
    place.release()
    assert failures == []
    return found


def fresh(found: list[ClassifiedEntries]) -> dict[bytes, int]:
    return {name: size for each in found for name, size in zip(*each.plain, strict=True)}


def equal(found: list[ClassifiedEntries]) -> dict[bytes, int]:
    return {name: size for each in found for name, size in zip(*each.equal, strict=True)}


@pytest.fixture
def pair(on_tmpfs: Path) -> tuple[Path, Path]:
    """One file, its true copy, and what is of neither's business."""
    build(on_tmpfs / "src", {"f": File(b"content", mtime_ns=T, mode=0o640), "new": File(b"new")})
    (on_tmpfs / "dst").mkdir()
    subprocess.run(["cp", "-a", on_tmpfs / "src/f", on_tmpfs / "dst/f"], check=True)
    return on_tmpfs / "src", on_tmpfs / "dst"


def linked(path: Path) -> None:
    os.link(path, path.with_name("twin"))


DIFFERENT: dict[str, Callable[[Path], object]] = {
    "a time of a nanosecond more": lambda path: os.utime(path, ns=(T, T + 1)),
    "another size": lambda path: (path.write_bytes(b"longer than that"), os.utime(path, ns=(T, T))),
    "another mode": lambda path: path.chmod(0o600),
    "a second name": linked,
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a symlink to the same": lambda path: (path.rename(path.with_name("g")), path.symlink_to("g")),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path, 0o640), os.utime(path, ns=(T, T))),
}


@pytest.mark.parametrize("side", ["src", "dst"])
@pytest.mark.parametrize("how", DIFFERENT)
def test_what_differs_in_any_way_is_not_equal(how: str, side: str, pair: tuple[Path, Path]) -> None:
    DIFFERENT[how](pair[side == "dst"] / "f")
    assert b"f" not in equal(listed(*pair, mirror=True))
    if os.geteuid() == 0:
        os.chown(pair[1] / "f", 1234, -1, follow_symlinks=False)
        assert b"f" not in equal(listed(*pair, mirror=True))


def test_a_true_copy_is_equal_and_what_is_missing_is_new(pair: tuple[Path, Path]) -> None:
    found = listed(*pair)
    assert (equal(found), fresh(found)) == ({b"f": 7}, {b"new": 3})
    assert [each.existing + each.others + each.linked for each in found if each.entries] == [[]]


@pytest.mark.parametrize("owner", [(1234, -1), (-1, 1234)])
def test_another_owner_is_no_equal(owner: tuple[int, int], pair: tuple[Path, Path]) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    os.chown(pair[1] / "f", *owner)
    assert equal(listed(*pair)) == {}


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
def test_slices_are_all_entries_once(count: int, new: bool, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings, "_SLICE", 3)
    build(on_tmpfs / "src", {f"f{i}": File(b"x" * i) for i in range(count)})
    (on_tmpfs / "dst").mkdir()
    found = listed(on_tmpfs / "src", on_tmpfs / "dst", new)
    assert fresh(found) == {b"f%d" % i: i for i in range(count)}
    assert sum(each.entries for each in found) == count and max(each.entries for each in found) <= 3


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_too_many_names_to_hold_change_nothing(most: int, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    there = {"f": File(b"f", mtime_ns=T), "d": Dir(), "l": Symlink("x", mtime_ns=T), ".h": File(b"h", mtime_ns=T)}
    build(src, {**there, "new": File(b"n"), "over": Dir()})
    build(dst, {**there, "over": File(), "only": File(), ".hpcp-mpi.deadbeef.1.1": Dir(mode=0o1700)})
    monkeypatch.setattr(listings, "_MOST_NAMES", most)
    found = listed(src, dst, backup_dir=b"backup")
    assert fresh(found) == {b"new": 1}
    assert sorted(each for some in found for each in some.folders) == [(b"d", False, False), (b"over", True, True)]
    existing = {each.name for some in found for each in some.existing}
    assert existing | equal(found).keys() == {b".h", b"f"}
    assert [some.same for some in found if some.same != NOTHING] == [Tally(links=1)]
    assert [name for some in found for name in some.sweeps] == [b".hpcp-mpi.deadbeef.1.1"]


def test_excluded_names_are_not_there_and_open_the_directory(pair: tuple[Path, Path]) -> None:
    found = listed(*pair, excludes=(b"new",))
    assert any(each.open for each in found)
    assert {b"f"} == {each.name for some in found for each in some.existing} | equal(found).keys()
    assert fresh(found) == {}


def test_every_type_is_told_of_under_its_kind(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"l": Symlink("x"), "p": Fifo(), "d": Dir({"e": Dir()}), ".h": File(b"1"), "a": File(b"12"),
                             "b": HardLink("a"), b"\xff": File(b"123")})  # fmt: skip
    (on_tmpfs / "dst").mkdir()
    for new in (True, False):
        (found,) = listed(on_tmpfs / "src", on_tmpfs / "dst", new)
        assert {name for name, _ in found.others} | fresh([found]).keys() == {b"l", b"p", b".h", b"\xff"}
        assert fresh([found])[b"\xff"] == 3 and found.folders == [(b"d", True, False)]
        assert sorted(each.name for each in found.linked) == [b"a", b"b"]
