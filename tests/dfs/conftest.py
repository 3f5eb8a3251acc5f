"""Fixtures: volumes of distributed file systems, each made once for the tests here, and directories on them.

They end with these tests: servers that wait take a quarter of a CPU from those that come after.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dfs.glusterfs import GlusterFS
from tests.dfs.moosefs import MooseFS
from tests.dfs.places import Place, fresh
from tests.dfs.volume import Volume, VolumeError


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
def on_moosefs(moosefs: Volume) -> Iterator[Place]:
    """A directory on MooseFS."""
    with fresh(moosefs) as place:
        yield place


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
