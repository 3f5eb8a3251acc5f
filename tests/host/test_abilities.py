"""The abilities of a file system are found with one file that no other program sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcp_mpi.host.abilities import deduced, hides_acls, probed
from hpcp_mpi.vocab.abilities import ENDLESS_NS, Acls
from tests.support import faultfs, filesystems
from tests.support.marks import needs_fuse, needs_root

S = 10**9


@pytest.fixture(params=filesystems.KINDS)
def found(request: pytest.FixtureRequest, on_tmpfs: Path) -> Iterator[tuple[str, int]]:
    """A new file system and its kind."""
    with filesystems.mounted(request.param, on_tmpfs) as directory:
        fd = os.open(directory, os.O_RDONLY)
        os.utime(fd, ns=(7 * S, 8 * S))
        yield request.param, fd
        os.close(fd)


@needs_root
@needs_fuse
@pytest.mark.skipif(bool(filesystems.missing()), reason=f"not installed: {' '.join(filesystems.missing())}")
def test_each_file_system_tells_what_it_stores_and_is_left_as_it_was(found: tuple[str, int]) -> None:
    kind, fd = found
    before = os.listdir(fd)
    has = probed(fd, kind, "token")
    assert os.listdir(fd) == before and os.fstat(fd).st_mtime_ns == 8 * S
    assert (has.times.earliest_ns, has.times.latest_ns) == {
        "tmpfs": (-ENDLESS_NS, ENDLESS_NS),
        "btrfs": (-ENDLESS_NS, ENDLESS_NS),
        "ext4": (-(2**31) * S, (2**34 - 2**31 - 1) * S),
        "xfs": (-(2**31) * S, (2**31 - 1) * S),
        "moose": (0, 2**32 * S - 1),
    }[kind]
    moose = kind == "moose"
    assert has.times.step_ns == (S if moose else 1) and has.times.clamps == (not moose)
    assert has.acls is (Acls.HIDDEN if moose else Acls.LISTED) and has.nameless == (not moose)
    assert has.user_attributes and has.trusted_attributes and has.holes and has.locks and has.case and has.owner == 0
    assert hides_acls(fd, kind) == moose


@needs_fuse
def test_without_nameless_files_it_is_found_out_in_a_stage(on_tmpfs: Path) -> None:
    with faultfs.mounted(on_tmpfs, fold=1) as mount:
        fd = os.open(mount, os.O_RDONLY)
        try:
            assert not deduced(fd, "fuse").tried
            has = probed(fd, "fuse", "token")
            assert has.case is False and has.acls is Acls.NONE and not hides_acls(fd, "fuse")
        finally:
            os.close(fd)
