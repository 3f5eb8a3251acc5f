"""Comparison of two files byte by byte: each byte is read once, holes not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.host import uncached_read as rereading
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.spool import Spool
from hpcp_mpi.host.uncached_read import ReadError, forget, open_quietly, same_bytes, write_out
from tests.support.effort import many

BLOCK = 4096
PIECES = st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=3 * BLOCK)), max_size=6)


def written(path: Path, size: int, pieces: list[tuple[int, bytes]]) -> bytes:
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in pieces:
            file.seek(at * BLOCK)
            file.write(data[: max(0, size - at * BLOCK)])
    return path.read_bytes()


def compared(mine: Path, theirs: Path, start: int, length: int) -> bool:
    one, other = os.open(mine, os.O_RDONLY), os.open(theirs, os.O_RDONLY)
    try:
        return same_bytes(one, other, start, length, lambda: False)
    finally:
        os.close(one)
        os.close(other)


@settings(max_examples=many(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 45 * BLOCK), PIECES, PIECES, st.booleans(), st.data())
def test_ranges_are_the_same_exactly_if_their_bytes_are(
    on_tmpfs: Path,
    size: int,
    pieces: list[tuple[int, bytes]],
    others: list[tuple[int, bytes]],
    equal: bool,
    data: st.DataObject,
) -> None:
    mine = written(on_tmpfs / "mine", size, pieces)
    theirs = written(on_tmpfs / "theirs", size, pieces if equal else others)
    start = data.draw(st.integers(0, size))
    length = data.draw(st.integers(0, size - start))
    with pytest.MonkeyPatch.context() as patch:  # so that blocks, and holes between them, are met at all
        patch.setattr(rereading, "_SMALL", data.draw(st.sampled_from([0, 1 << 18])))
        patch.setattr(rereading, "_BLOCK", data.draw(st.sampled_from([BLOCK, 3 * BLOCK])))
        same = compared(on_tmpfs / "mine", on_tmpfs / "theirs", start, length)
    assert same == (mine[start : start + length] == theirs[start : start + length])


def test_what_was_cut_off_is_not_the_same(on_tmpfs: Path) -> None:
    for length in (100, 1 << 20):
        (on_tmpfs / "mine").write_bytes(b"x" * length)
        (on_tmpfs / "theirs").write_bytes(b"x" * (length - 1))
        assert not compared(on_tmpfs / "mine", on_tmpfs / "theirs", 0, length)


def test_a_terabyte_of_nothing_takes_no_time(on_tmpfs: Path) -> None:
    for name in ("mine", "theirs"):
        written(on_tmpfs / name, 0, [])
        os.truncate(on_tmpfs / name, 1 << 40)
    assert compared(on_tmpfs / "mine", on_tmpfs / "theirs", 0, 1 << 40)


def test_it_is_known_which_side_cannot_be_read(on_tmpfs: Path) -> None:
    (on_tmpfs / "file").write_bytes(b"x" * 10)
    good, bad = os.open(on_tmpfs / "file", os.O_RDONLY), os.open(on_tmpfs / "file", os.O_WRONLY)
    try:
        for length in (10, 1 << 20):
            for one, other in ((bad, good), (good, bad)):
                with pytest.raises(ReadError) as raised:
                    same_bytes(one, other, 0, length, lambda: False)
                assert raised.value.mine is (one == bad)
        with pytest.raises(Stopped):
            same_bytes(good, good, 0, 1 << 20, lambda: True)
    finally:
        os.close(good)
        os.close(bad)


def test_what_is_forgotten_leaves_the_page_cache_once_it_is_written_out(on_disk: Path) -> None:
    path = on_disk / "file"
    path.write_bytes(b"x" * (1 << 20))
    directory = os.open(on_disk, os.O_RDONLY)
    fd = open_quietly(b"file", directory)
    try:
        if not cached(path):
            pytest.skip("fincore tells nothing of this file system")
        assert write_out(fd)
        forget(fd)
        assert cached(path) == 0
    finally:
        os.close(fd)
        os.close(directory)


def cached(path: Path) -> int:
    """Bytes of a file in the page cache."""
    done = subprocess.run(["fincore", "-nbr", "-o", "RES", path], check=True, capture_output=True, text=True)
    return int(done.stdout)


def test_a_journal_gives_back_what_each_owner_has_last_first() -> None:
    journal = Spool()
    assert not journal and journal.owners == [] and list(journal.blocks(1)) == []
    for at in range(50):
        journal.add(at % 3, b"%d" % at * at)
    assert journal and journal.owners == [0, 1, 2]
    for owner in range(3):
        assert list(journal.blocks(owner)) == [b"%d" % at * at for at in reversed(range(50)) if at % 3 == owner]


def test_a_journal_may_be_added_to_while_it_is_read() -> None:
    journal = Spool()
    journal.add(7, b"first")
    reading = journal.blocks(7)
    assert next(reading) == b"first"
    journal.add(7, b"second")
    assert list(reading) == [] and list(journal.blocks(7)) == [b"second", b"first"]
