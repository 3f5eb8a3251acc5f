"""The volumes: clients share files, servers can be lost and come back, nothing outlives who wanted them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dfs.glusterfs import GlusterFS
from tests.dfs.moosefs import MooseFS
from tests.dfs.places import Place
from tests.dfs.volume import Volume
from tests.slurm.cluster import eventually
from tests.slurm.test_lab import tree_of
from tests.support.everyone import REPOSITORY
from tests.support.launch import World
from tests.support.marks import each_world
from tests.support.namespaces import mounts

pytestmark = pytest.mark.root

OWNER = """
import signal, sys
from tests.dfs.{module} import {kind}
with {kind}(sys.argv[1]) as volume:
    print(volume.pid, volume.directory, flush=True)
    signal.pause()
"""


def test_what_one_client_writes_another_reads(on_dfs: Place) -> None:
    one, other = (client / "file" for client in on_dfs.clients)
    one.write_text("by one")
    assert other.read_text() == "by one"
    other.write_text("by the other")
    assert (on_dfs.settled() / "file").read_text() == "by the other"


@each_world(sizes=[4], launchers=["mpich", "openmpi"])
def test_ranks_see_the_clients_in_turns_at_one_path(world: World, on_dfs: Place) -> None:
    code = "import os, sys; os.stat(sys.argv[1]); print(os.stat(sys.argv[1]).st_dev)"
    done = on_dfs.run(world, [on_dfs.shared], python_args=("-c", code)).check()
    devices = sorted(str(client.stat().st_dev) for client in on_dfs.clients)
    assert sorted(done.stdout.split()) == sorted(2 * devices)
    assert not on_dfs.shared.exists()


def test_storage_can_be_lost_and_comes_back(on_dfs: Place) -> None:
    volume = on_dfs.volume
    for client in on_dfs.clients:
        for number in range(20):
            (client / f"{client.parent.name}-{number}").write_text("kept")
    volume.lose_storage(1)
    volume.bring_back_storage(1)
    for client in (*on_dfs.clients, on_dfs.judge):
        assert [path.read_text() for path in client.iterdir()] == ["kept"] * 40


def test_metadata_can_be_lost_and_comes_back(on_dfs: Place) -> None:
    one, other = (client / "file" for client in on_dfs.clients)
    one.write_text("kept")
    on_dfs.volume.lose_metadata()
    on_dfs.volume.bring_back_metadata()
    assert other.read_text() == "kept"
    other.with_name("more").touch()


@pytest.mark.parametrize(
    "how, kind", [("owner", MooseFS), pytest.param("keeper", GlusterFS, marks=pytest.mark.to_the_end)]
)
def test_nothing_outlives_whoever_wanted_it(how: str, kind: type[Volume], on_disk: Path) -> None:
    """A second one beside the session's, too."""
    if reason := kind.missing():
        pytest.skip(reason)
    code = OWNER.format(module=kind.__module__.rsplit(".", 1)[-1], kind=kind.__name__)
    owner = subprocess.Popen([sys.executable, "-c", code, on_disk], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        pid, directory = owner.stdout.readline().split()
        assert len(mounts(Path(directory))) == 3 and tree_of(directory)
        os.kill(owner.pid if how == "owner" else int(pid), signal.SIGKILL)
        eventually("all processes are gone", lambda: not tree_of(directory))
        eventually("its loop devices are free", lambda: directory not in loop_devices())
        if how == "owner":
            eventually("its directory is gone", lambda: not Path(directory).exists())
    finally:
        owner.kill()
        owner.communicate()
    with kind(os.fspath(on_disk)) as volume:
        assert list(on_disk.iterdir()) == [volume.directory]
    assert list(on_disk.iterdir()) == []
    assert mounts(on_disk) == []
    assert os.fspath(on_disk) not in loop_devices()


def loop_devices() -> str:
    """What they are attached to."""
    return subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout
