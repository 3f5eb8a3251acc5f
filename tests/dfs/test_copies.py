"""Ranks on different clients of a distributed file system: what they do is right, seen from yet another client."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.dfs.places import Place, give_hosts_clients
from tests.slurm import cluster as slurm
from tests.slurm.lab import Lab
from tests.support import oracle
from tests.support.launch import World
from tests.support.marks import each_world, needs_commands
from tests.support.trees import Dir, Fifo, File, HardLink, Name, Node, Sparse, Symlink, build, flat

pytestmark = [needs_commands("rsync"), pytest.mark.root, pytest.mark.mpi]

MPICH = World("mpich", 4)
OLD_NS = 1_234_567_890_123_456_789
SMALL_CHUNKS = ("-f", "10")  # so that all ranks have something to do

slurm_is_here = pytest.mark.skipif(slurm.missing() is not None, reason=slurm.missing() or "")
each_mpi = each_world(sizes=[4], launchers=["mpich", "openmpi"])


def mixed() -> dict[Name, Node]:
    """A tree of all kinds of entries. Without ACLs, which rsync judges wrongly on these file systems."""
    return {
        **flat(200, per_directory=20),
        "locked": Dir({"secret": File(b"secret", mode=0o600, owner=(65534, 65534))}, mode=0o700, mtime_ns=OLD_NS),
        "old": Dir({"file": File(b"old", mtime_ns=OLD_NS), "tagged": File(xattrs={"user.tag": b"x"})}, mtime_ns=OLD_NS),
        "links": Dir({"link": Symlink("../old", mtime_ns=OLD_NS), "twin": HardLink("dir00003/file0000060")}),
        "kinds": Dir({"fifo": Fifo(), "sparse": Sparse(1 << 20, ((4096, b"data"),)), "empty": Dir(mtime_ns=OLD_NS)}),
        "setuid": File(b"#!", mode=0o4755, owner=(1234, 4321)),
    }


@pytest.fixture
def src(on_disk: Path) -> Path:
    """A tree of all kinds of entries, on a local file system."""
    build(on_disk / "src", mixed())
    return on_disk / "src"


@each_mpi
def test_a_new_copy_to_the_volume_is_equal(world: World, on_dfs: Place, src: Path) -> None:
    on_dfs.run(world, [src, on_dfs.shared / "dst", *SMALL_CHUNKS]).check()
    on_dfs.assert_holds(src, "dst")


def test_a_new_copy_from_the_volume_is_equal(on_dfs: Place, on_disk: Path) -> None:
    build(on_dfs.clients[0] / "src", mixed())
    on_dfs.volume.settle()
    on_dfs.run(MPICH, [on_dfs.shared / "src", on_disk / "dst", *SMALL_CHUNKS]).check()
    oracle.assert_equal_trees(on_dfs.judge / "src", on_disk / "dst", sparse=False)


@slurm_is_here
def test_hosts_with_a_client_each_make_an_equal_copy(on_dfs: Place, src: Path) -> None:
    with Lab(["n1", "n2"]) as lab:
        give_hosts_clients(lab, on_dfs.volume)
        options = ["-N2", "--ntasks-per-node=2"]
        done = slurm.Cluster(lab, lab.shared).srun([src, on_dfs.shared / "dst", *SMALL_CHUNKS], options=options)
        assert done.returncode == 0, done.stderr
        on_dfs.assert_holds(src, "dst")


def test_a_mirror_is_equal_and_holds_nothing_else(on_dfs: Place, src: Path) -> None:
    subprocess.run(["cp", "-a", src, on_dfs.clients[0] / "dst"], check=True)
    build(on_dfs.clients[0] / "dst/extra", flat(100, per_directory=10))
    (on_dfs.clients[0] / "dst/old/extra").touch()
    shutil.rmtree(on_dfs.clients[0] / "dst/dir00001")
    on_dfs.volume.settle()
    on_dfs.run(MPICH, ["-rme", "-rf", src, on_dfs.shared / "dst", *SMALL_CHUNKS]).check()
    on_dfs.assert_holds(src, "dst")


def test_a_move_within_the_volume_leaves_an_equal_tree_and_no_source(on_dfs: Place, src: Path) -> None:
    subprocess.run(["cp", "-a", src, on_dfs.clients[0] / "from"], check=True)
    on_dfs.volume.settle()
    args = ["-rm", "-rf", on_dfs.shared / "from", "-d", on_dfs.shared / "dst", *SMALL_CHUNKS]
    on_dfs.run(MPICH, args).check()
    on_dfs.assert_holds(src, "dst")
    assert not (on_dfs.judge / "from").exists()
