"""What one client has cached, or writes late, does not make the work of another one wrong."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.dfs.places import Place
from tests.dfs.test_copies import MPICH, OLD_NS, SMALL_CHUNKS, mixed
from tests.support.copies import changed, state
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, build, flat

pytestmark = [needs_commands("rsync"), pytest.mark.root, pytest.mark.mpi]

MIB = 1 << 20


def test_a_changed_file_in_each_of_40_directories_leaves_all_times_right(on_dfs: Place, on_disk: Path) -> None:
    src = on_disk / "src"
    build(src, {name: Dir(node.entries, mtime_ns=OLD_NS) for name, node in flat(200, per_directory=5).items()})
    on_dfs.run(MPICH, [src, on_dfs.shared / "dst", *SMALL_CHUNKS]).check()
    on_dfs.assert_holds(src, "dst")
    for directory in src.iterdir():
        changing = min(directory.iterdir())
        changing.write_bytes(b"changed " + changing.read_bytes())
        os.utime(directory, ns=(OLD_NS, OLD_NS))
    on_dfs.run(MPICH, [src, on_dfs.shared / "dst", *SMALL_CHUNKS]).check()
    on_dfs.assert_holds(src, "dst")


def test_parallel_listing_of_600_new_files_leaves_all_times_right(on_dfs: Place, on_disk: Path) -> None:
    src = on_disk / "src"
    build(src, flat(600, size=64, per_directory=15))
    on_dfs.run(MPICH, ["-pfl", src, on_dfs.shared / "dst"]).check()
    on_dfs.assert_holds(src, "dst")


def test_files_copied_in_ranges_have_their_times(on_dfs: Place, on_disk: Path) -> None:
    src = on_disk / "src"
    content = os.urandom(MIB)
    build(src, {f"big{i}": File(content * 8, mtime_ns=OLD_NS + i * 10**9) for i in range(3)})
    ranges = ("--split-size", "2M", "--chunk-size", "2M")
    on_dfs.run(MPICH, [src, on_dfs.shared / "dst", *ranges]).check()
    on_dfs.assert_holds(src, "dst")
    subprocess.run(["rm", "-rf", on_dfs.clients[0] / "dst"], check=True)
    on_dfs.volume.settle()
    on_dfs.run(MPICH, ["--verify", src, on_dfs.shared / "dst", *ranges]).check()
    on_dfs.assert_holds(src, "dst")


def test_a_second_run_writes_nothing(on_dfs: Place, on_disk: Path) -> None:
    src = on_disk / "src"
    build(src, mixed())
    for _ in range(2):
        on_dfs.run(MPICH, [src, on_dfs.shared / "dst", *SMALL_CHUNKS]).check()
        before = state(on_dfs.settled() / "dst")
    on_dfs.run(MPICH, [src, on_dfs.shared / "dst", *SMALL_CHUNKS]).check()
    assert changed(before, state(on_dfs.settled() / "dst")) <= {b"."}
