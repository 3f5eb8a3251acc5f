"""Links are made straight to free names, whatever others do meanwhile, and lead to nothing but what was copied."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.operations.scan import link_groups
from tests.support import direct, oracle
from tests.support.effort import many
from tests.support.marks import needs_commands
from tests.support.trees import Dir, Fifo, File, HardLink, Symlink, build

pytestmark = needs_commands("rsync", "cmp")
Meddle = Callable[[str, bytes, int], None]


def in_stage(directory: int) -> bool:
    return "/.hpcp-mpi." in os.readlink(f"/proc/self/fd/{directory}")


def meddling(monkeypatch: pytest.MonkeyPatch, meddle: Meddle) -> None:
    """Have meddle called before each link to a final name, with what is linked, the name and its directory."""
    real = os.link

    def link(source: bytes, name: bytes, **where: Any) -> None:
        if not in_stage(where["dst_dir_fd"]):
            above = f"/proc/self/fd/{where['src_dir_fd']}/" if "src_dir_fd" in where else ""
            meddle(above + os.fsdecode(source), name, where["dst_dir_fd"])
        real(source, name, **where)

    monkeypatch.setattr(os, "link", link)


def partition(root: Path) -> set[frozenset[str]]:
    """Return which names below root are one inode."""
    found: dict[int, set[str]] = {}
    for above, _, names in os.walk(root):
        for name in names:
            path = os.path.join(above, name)
            found.setdefault(os.lstat(path).st_ino, set()).add(os.path.relpath(path, root))
    return {frozenset(names) for names in found.values()}


def take_by_file(_: str, name: bytes, directory: int) -> None:
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory))


def take_by_link(leader: str, name: bytes, directory: int) -> None:
    subprocess.run(
        ["ln", os.path.realpath(leader), f"/proc/{os.getpid()}/fd/{directory}/{os.fsdecode(name)}"], check=True
    )


def take_by_directory(_: str, name: bytes, directory: int) -> None:
    os.mkdir(name, dir_fd=directory)
    os.mkdir(name + b"/full", dir_fd=directory)


@pytest.mark.parametrize("take", [take_by_file, take_by_link])
def test_a_name_that_is_taken_meanwhile_leads_to_the_file_in_the_end(
    take: Meddle, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": Dir({"f": File(b"f")}), "b": Dir({"g": HardLink("a/f")})})
    meddling(monkeypatch, take)
    report = direct.copy(src, dst)
    assert report.failures == [] and report.outcome.linked == (take is take_by_file)
    assert report.outcome.copied.plus(report.outcome.skipped).files == 2
    oracle.assert_equal_trees(src, dst)


def test_a_directory_that_takes_the_name_meanwhile_stays(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": Dir({"f": File(b"f")}), "b": Dir({"f": HardLink("a/f"), "other": File(b"o")})})
    meddling(monkeypatch, take_by_directory)
    (failure,) = direct.copy(src, dst).failures
    assert os.path.basename(failure.path) == b"f" and "cannot be linked" in failure.reason
    taken = dst / os.path.relpath(os.fsdecode(failure.path), src)
    assert os.listdir(taken) == ["full"] and (dst / "b/other").read_bytes() == b"o"


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_where_others_may_write_a_leader_that_is_exchanged_leads_nobody(
    mode: int, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    entries = {"f": File(b"right"), "l": Symlink("right"), "p": Fifo()}
    build(src, {"a": Dir(entries, mode=mode), "b": Dir({name: HardLink(f"a/{name}") for name in entries}, mode=mode)})
    for name in ("a", "b"):
        build(dst, {name: Dir({}, mode=mode)})
    exchanged: list[bytes] = []

    def exchange(leader: str, name: bytes, directory: int) -> None:
        if mode == 0o777:  # else nobody could
            place = Path(os.path.realpath(os.path.dirname(leader)), os.path.basename(leader))
            if leader.startswith("/proc/self/fd/") and leader.count("/") == 4:  # the file itself
                place = Path(os.readlink(leader))
            place.rename(on_tmpfs / f"away-{len(exchanged)}")
            place.write_bytes(b"wrong")
        exchanged.append(name)

    meddling(monkeypatch, exchange)
    report = direct.copy(src, dst)
    assert report.failures == [] and sorted(exchanged) == [b"f", b"l", b"p"]
    if mode == 0o755:
        oracle.assert_equal_trees(src, dst)
        return
    linked = [
        path for path in dst.glob("*/*") if not path.is_file() or path.is_symlink() or path.read_bytes() != b"wrong"
    ]
    assert sorted(path.name for path in linked) == ["f", "l", "p"]
    for path in linked:
        assert stat.S_IFMT(path.lstat().st_mode) == stat.S_IFMT((src / "a" / path.name).lstat().st_mode)


def test_what_can_have_no_more_names_is_copied_once_more_for_each_full_one(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": Dir({"f": File(b"f")}), **{f"d{i}": Dir({"g": HardLink("a/f")}) for i in range(19)}})

    def full(leader: str, name: bytes, directory: int) -> None:
        if os.stat(leader).st_nlink >= 5:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    meddling(monkeypatch, full)
    report = direct.copy(src, dst, slots=1, chunk_files=3)
    assert report.failures == [] and report.outcome.linked == 16
    assert sorted(map(len, partition(dst))) == [5] * 4
    assert all(path.read_bytes() == b"f" for path in dst.glob("*/*"))


def test_a_leader_that_is_gone_is_copied_again(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = on_tmpfs / "src", on_tmpfs / "dst"
    build(src, {"a": Dir({"f": File(b"f")}), **{f"d{i}": Dir({"g": HardLink("a/f")}) for i in range(3)}})
    gone: list[str] = []

    def remove(leader: str, name: bytes, directory: int) -> None:
        if not gone:
            gone.append(os.path.realpath(leader))
            os.unlink(leader)

    meddling(monkeypatch, remove)
    assert direct.copy(src, dst).failures == []
    (names,) = partition(dst)
    assert len(names) == 3 and not os.path.exists(gone[0])


@settings(max_examples=many(12), deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=5), max_size=8),
    st.sampled_from([None, True, False]),
    st.sampled_from([1, 2, 50_000]),
    st.sampled_from([3, 28]),
    st.booleans(),
)
def test_however_names_are_spread_and_seen_the_same_ones_are_one_file(
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[list[tuple[int, int]]],
    parallel: bool | None,
    most: int,
    bits: int,
    twice: bool,
) -> None:
    """Judged by inodes. most, bits: what is kept in mind of files that are given up, and by how little."""
    place = tmp_path_factory.mktemp("linking")
    src, dst = place / "src", place / "dst"
    (src / "0/1/2").mkdir(parents=True)
    (src / "3").mkdir()
    places = [src, src / "0/1", src / "0/1/2", src / "3"]
    for number, group in enumerate(groups):
        names = [places[where] / f"n{number}-{which}" for where, which in dict.fromkeys(group)]
        names[0].write_bytes(b"%d" % (number % 2))
        for name in names[1:]:
            os.link(names[0], name)
    with (
        mock.patch.object(link_groups, "_MOST_LEADERS", most),
        mock.patch.object(link_groups, "_MOST_FOLLOWERS", most),
        mock.patch.object(link_groups, "_BITS", bits),
    ):
        for _ in range(1 + twice):
            report = direct.copy(src, dst, parallel_listing=parallel, chunk_files=2)
            assert report.failures == []
    oracle.assert_equal_trees(src, dst)
    assert partition(src) == partition(dst)
