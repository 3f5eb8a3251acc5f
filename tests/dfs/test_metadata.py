"""Attributes and times on real distributed file systems, as source and as destination: what holds on local ones does.

The tests are those of tests/operations; here they get other trees.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.dfs.moosefs import MooseFS
from tests.dfs.places import Place
from tests.operations.copy import test_attributes, test_times_out_of_range
from tests.operations.copy.test_attributes import (  # noqa: F401
    test_a_change_of_attributes_alone_is_seen,
    test_a_move_takes_attributes_with_it,
    test_attributes_arrive_stay_and_are_mended,
    test_attributes_that_only_the_copy_has_go,
    test_what_a_list_names_comes_with_its_attributes,
)
from tests.support.copies import copy, items
from tests.support.trees import build

T = test_attributes.T


def is_moose(place: Place) -> bool:
    return isinstance(place.volume, MooseFS)


@pytest.fixture(params=["from", "to"])
def trees(request: pytest.FixtureRequest, on_dfs: Place, on_tmpfs: Path) -> test_attributes.Trees:
    """A tree on one side, and where its copy is to be on the other. GlusterFS knows no capabilities."""
    there, here = on_dfs.clients[0], on_tmpfs
    src, dst = (there, here) if request.param == "from" else (here, there)
    return test_attributes.made(src / "src", dst / "dst", nameless=dst is here, capabilities=is_moose(on_dfs))


def test_the_nearest_time_is_equal_ever_after_here_too(on_dfs: Place, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", test_times_out_of_range.TREE)
    os.utime(on_tmpfs / "src", ns=(T, T))
    kind = "moose" if is_moose(on_dfs) else "glusterfs"
    trees = test_times_out_of_range.Trees(kind, on_tmpfs / "src", on_dfs.clients[0] / "dst")
    test_times_out_of_range.test_the_nearest_time_is_equal_ever_after(trees)
    shutil.rmtree(trees.dst)
    test_times_out_of_range.test_a_time_that_can_be_stored_again_is(trees)


def test_what_glusterfs_cannot_store_is_said_and_no_difference(on_glusterfs: Place, on_tmpfs: Path) -> None:
    trees = test_attributes.made(on_tmpfs / "src", on_glusterfs.clients[0] / "dst")
    done = copy(trees.src, "-d", trees.dst)
    assert any("capabilities" in note for note in done.notes.values())
    assert items(copy("-v", trees.src, "-d", trees.dst).done.stdout) == {}
