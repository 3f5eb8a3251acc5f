"""Fixtures: volumes of distributed file systems, each made once for the tests here, and directories on them.

They end with these tests: servers that wait take a quarter of a CPU from those that come after.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.dfs.glusterfs import GlusterFS
from tests.dfs.moosefs import MooseFS
from tests.dfs.places import Place, fresh
from tests.dfs.volume import Volume, VolumeError

# Of the tests that run on both, those that run on GlusterFS too without `make chaos`: there each takes three times as
# long as on MooseFS, and servers, clients and ranks share the machine's CPUs.
_ON_BOTH = (
    "test_a_changed_file_in_each_of_40_directories_leaves_all_times_right",
    "test_files_copied_in_ranges_have_their_times",
    "test_a_new_copy_to_the_volume_is_equal[glusterfs-mpich-4]",
    "test_attributes_arrive_stay_and_are_mended[glusterfs-to]",
    "test_storage_can_be_lost_and_comes_back",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to `make chaos` what takes too long for every day."""
    if os.environ.get("HPCP_MPI_CHAOS"):
        return
    later = [
        item
        for item in items
        if "tests/dfs/" in item.nodeid and "[glusterfs" in item.nodeid and not item.name.startswith(_ON_BOTH)
    ]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]


def _made(kind: type[Volume]) -> Iterator[Volume]:
    reason = kind.missing()
    if reason is not None:
        pytest.skip(reason)
    try:
        volume = kind()
    except VolumeError as problem:  # GlusterFS: once in a while a brick takes another one's place for its own
        print(f"{kind.name} is started once more: {problem}")
        volume = kind()
    with volume:
        yield volume


@pytest.fixture(scope="package")
def moosefs() -> Iterator[Volume]:
    """A volume of MooseFS. A test that takes a server down brings it back."""
    yield from _made(MooseFS)


@pytest.fixture(scope="package")
def glusterfs() -> Iterator[Volume]:
    """A volume of GlusterFS whose files are each on one of three bricks. A test that takes one down brings it back."""
    yield from _made(GlusterFS)


@pytest.fixture(scope="package", params=["moosefs", "glusterfs"])
def dfs(request: pytest.FixtureRequest) -> Volume:
    """Each of the volumes, one after the other."""
    volume = request.getfixturevalue(request.param)
    assert isinstance(volume, Volume)
    return volume


@pytest.fixture
def on_glusterfs(glusterfs: Volume) -> Iterator[Place]:
    """A directory on GlusterFS."""
    with fresh(glusterfs) as place:
        yield place


@pytest.fixture
def on_dfs(dfs: Volume) -> Iterator[Place]:
    """A directory on each of the volumes, one after the other."""
    with fresh(dfs) as place:
        yield place
