"""Symlinks are made in the stage by the rank itself, as `cp -a` makes them; what is odd about one is left to `cp`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hpcp_mpi.host.commands import Commands, Stopped
from hpcp_mpi.operations.copy.publishing import publish_units
from hpcp_mpi.operations.copy.worker import united
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import ONE_LINK, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units
from tests.support import direct, oracle
from tests.support.copies import copy, stages
from tests.support.marks import needs_root
from tests.support.trees import Dir, File, HardLink, Node, Symlink, build

U, BOB = 54_321, 54_322
S = 10**9
LINKS: dict[bytes, Node] = {
    b"dangling": Symlink("nowhere/at/all", mtime_ns=1),
    b"new\nline": Symlink("a\nb", mtime_ns=S),
    b"not \xff utf-8": Symlink(b"\xfe\xff", mtime_ns=-1),
    b"--help": Symlink("-rf", mtime_ns=-5 * S - 123),
    b"long": Symlink("x/" * 2000 + "y", mtime_ns=1_600_000_000 * S + 999_999_999),
    b"later": Symlink("f", mtime_ns=2**33 * S),
    b"dots": Symlink("..", mtime_ns=S),
    b"absolute": Symlink("/", mtime_ns=S),
    b"twin": HardLink(b"dots"),
    b"f": File(b"f", mtime_ns=S),
    b"empty": Dir({}, mtime_ns=S),
}
# A unit for each entry, so that none goes with a directory that is copied whole.
ALONE: dict[str, Any] = {"chunk_files": 1, "chunk_size": 1}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """called is what `cp` was given, a list for each call. Filled in during a run."""
    found: list[list[bytes]] = []
    real = Commands.run

    def run(self: Commands, arguments: list[bytes], *rest: Any) -> tuple[int, bytes]:
        found.append(arguments[arguments.index(b"--") + 1 :])
        return real(self, arguments, *rest)

    monkeypatch.setattr(Commands, "run", run)
    return found


@pytest.fixture(params=["root's", "another user's"])
def src(request: pytest.FixtureRequest, on_tmpfs: Path) -> Path:
    """A source whose directory nobody else may change, and one that is another user's."""
    build(on_tmpfs / "src", LINKS)
    if request.param != "root's":
        if os.geteuid():
            pytest.skip("needs root")
        for name in (*LINKS, b"."):
            os.chown(os.path.join(os.fsencode(on_tmpfs / "src"), name), U, BOB, follow_symlinks=False)
        os.chown(on_tmpfs / "src/dangling", BOB, 0, follow_symlinks=False)
    return on_tmpfs / "src"


@pytest.mark.parametrize("options", [{}, ALONE, {"verify": True, **ALONE}], ids=["whole", "alone", "verify"])
def test_symlinks_of_any_kind_are_equal_without_cp(
    options: dict[str, Any], src: Path, called: list[list[bytes]]
) -> None:
    dst = src.parent / "dst"
    report = direct.copy(src, dst, **options)
    assert report.failures == []
    oracle.assert_equal_trees(src, dst)
    assert oracle.exact_times(src, dst) == [] and stages(dst) == []
    assert not {b"dangling", b"dots", b"--help"} & {name for names in called for name in names}
    assert report.outcome.copied.links == len(LINKS) - 2 and report.outcome.linked == 1


@needs_root
def test_a_symlink_with_an_attribute_is_left_to_cp(on_tmpfs: Path, called: list[list[bytes]]) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"plain": Symlink("x"), "marked": Symlink("y", xattrs={"trusted.mark": b"1"})})
    assert direct.copy(src, dst, **ALONE).failures == []
    assert called == [[b"marked"]]
    oracle.assert_equal_trees(src, dst)
    assert os.getxattr(dst / "marked", "trusted.mark", follow_symlinks=False) == b"1"


def test_a_symlink_that_cannot_be_made_is_left_to_cp_and_stops_no_other(
    on_tmpfs: Path, called: list[list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {f"l{number}": Symlink("x", mtime_ns=number * S) for number in range(9)})
    real = os.utime

    def utime(path: Any, *args: Any, **how: Any) -> None:
        if path == b"l4":
            raise OSError(95, "Operation not supported")
        real(path, *args, **how)

    monkeypatch.setattr(os, "utime", utime)
    assert direct.copy(src, dst, **ALONE).failures == []
    assert called == [[b"l4"]]
    oracle.assert_equal_trees(src, dst)


def test_what_is_in_the_place_of_a_symlink_is_replaced_but_not_what_it_leads_to(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    own = [f"own{number}" for number in range(3)]
    build(dst, {**{name: File(b"data") for name in own}, "file": File(b"old"), "empty": Dir({}), "other": Symlink("o")})
    others = {"file": "f", "empty": "e", "other": "n", "new": "m"}
    build(src, {name: Symlink(os.fspath(dst / name)) for name in own} | {n: Symlink(t) for n, t in others.items()})
    done = copy(f"{src}/", dst, code=23)
    assert {failure["path"] for failure in done.report["failures"]} == {os.fspath(src / name) for name in own}
    assert all((dst / name).read_bytes() == b"data" for name in own)
    assert {name: os.readlink(dst / name) for name in others} == others


@needs_root
def test_another_user_makes_them_as_cp_does(on_tmpfs: Path) -> None:
    src, mine = on_tmpfs / "src", on_tmpfs / "mine"
    build(src, {"a": Symlink("a", owner=(U, U), mtime_ns=-S), "b": Symlink("b", owner=(0, 0), mtime_ns=S)})
    mine.mkdir()
    shutil.chown(mine, "nobody", "nogroup")
    copy(src, mine / "dst", user="nobody")
    subprocess.run(["cp", "-a", src, mine / "cp"], user="nobody", group="nogroup", extra_groups=[], check=True)
    oracle.assert_equal_trees(mine / "cp", mine / "dst")


# --- renames of many units


def test_a_directory_in_the_way_of_one_of_many_stops_no_other(on_tmpfs: Path) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {f"f{number:03}": File(b"%d" % number, mtime_ns=S) for number in range(40)})
    build(dst, {"f007": Dir({"kept": File(b"k")}), "f020": Dir({}), "f030": Symlink("f031")})
    report = direct.copy(f"{src}/", dst, directory_sync=True)
    assert [failure.path for failure in report.failures] == [os.fsencode(src / "f007")]
    assert "directory that is not empty is in the way" in report.failures[0].reason
    assert report.outcome.copied.files == 39 and report.outcome.copied.bytes == sum(len(str(n)) for n in range(40)) - 1
    assert (dst / "f007/kept").read_bytes() == b"k" and stages(dst) == []
    shutil.rmtree(dst / "f007")
    shutil.copy2(src / "f007", dst / "f007")
    oracle.assert_equal_trees(src, dst, top=False)


@pytest.mark.parametrize("kind", [ONE_LINK, one_file(1)], ids=["symlinks", "files"])
def test_a_rank_whose_time_is_over_gives_no_more_names(kind: Tally, on_tmpfs: Path) -> None:
    stage, dest = on_tmpfs / "stage", on_tmpfs / "dest"
    units = Units.of(Unit(b"%d" % number, kind) for number in range(9))
    build(stage, {name: Symlink("x") if kind == ONE_LINK else File(b"x") for name in units.names})
    dest.mkdir()
    asked = iter([False] * 5)
    commands = type("Commands", (), {"stopped": property(lambda self: next(asked, True))})()
    context = SimpleNamespace(options=Options(), job=SimpleNamespace(backup=None), commands=commands)
    fds = [os.open(each, os.O_RDONLY) for each in (stage, dest)]
    outcome = Outcome()
    try:
        with pytest.raises(Stopped):
            publish_units(
                cast(Any, context), Batch(Kind.COPY, 0, b"", b"", units), units, units.names, (fds[0], fds[1]), outcome
            )
    finally:
        for fd in fds:
            os.close(fd)
    assert sorted(os.listdir(dest)) == ["0", "1", "2", "3", "4"] and len(os.listdir(stage)) == 4


def test_batches_that_differ_only_in_their_units_are_one_call_of_cp() -> None:
    first = Batch(Kind.COPY, 0, b"d", b"d", Units([b"a", b"b"], [1, 2]), ours=True)
    other = Batch(Kind.COPY, 0, b"e", b"e", Units([b"c"], [3]), ours=True)
    again = Batch(Kind.COPY, 0, b"d", b"d", Units([b"z"], [9]), ours=True, again=True)
    found = united([first, other, again, first.with_units(Units([b"x"], [4]))])
    assert found == [first.with_units(Units([b"a", b"b", b"x"], [1, 2, 4])), other, again]
