"""What is found of a sparse file's data is all of it, with a limited number of questions; nonsense is not believed."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.host import data_map
from hpcp_mpi.host.data_map import extents_of
from hpcp_mpi.vocab.units import DataExtent
from tests.support.effort import many
from tests.support.marks import needs_commands
from tests.support.ranging import sparse

BLOCK = 4096


def look(path: Path, near: int = 1) -> list[DataExtent] | None:
    with open(path, "rb") as file:
        return extents_of(file.fileno(), os.fstat(file.fileno()), near)


@settings(max_examples=many(30), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6)), min_size=1, max_size=20),
    near=st.sampled_from([1, BLOCK, 3 * BLOCK]),
    exact=st.sampled_from([1, 3, 1024]),
    steps=st.sampled_from([1, 4, 1024]),
)
def test_all_data_is_in_the_parts_and_the_weights_are_near(
    on_tmpfs: Path, parts: list[tuple[int, int]], near: int, exact: int, steps: int
) -> None:
    path = sparse(on_tmpfs / "f", 80 * BLOCK, [(at * BLOCK, count * BLOCK) for at, count in parts])
    data = {block for at, count in parts for block in range(at, at + count)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data_map, "_EXACT", exact)
        patched.setattr(data_map, "_STEPS", steps)
        found = look(path, near)
    assert found is not None
    assert {block for begin, end, _ in found for block in range(begin // BLOCK, -(-end // BLOCK))} >= data
    for (begin, end, amount), following in zip(found, [*found[1:], None], strict=True):
        assert 0 < amount <= end - begin and begin >= 0 and end <= 80 * BLOCK
        assert following is None or following[0] - end >= near
    if exact == 1024:
        assert sum(amount for _, _, amount in found) == len(data) * BLOCK


def test_however_many_extents_there_are_only_so_many_questions_are_asked(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sparse(on_tmpfs / "f", 40_000 * BLOCK, [(at * BLOCK, BLOCK) for at in range(0, 20_000, 2)])
    asked = []
    real = os.lseek
    monkeypatch.setattr(os, "lseek", lambda *args: asked.append(args) or real(*args))
    found = look(path, 16 * BLOCK)
    assert found is not None and len(asked) < 4 * 1024
    assert 0.8 < sum(amount for _, _, amount in found) / (10_000 * BLOCK) < 1.3
    assert found[-1][1] <= 21_000 * BLOCK, "the hole at the end is none"


@pytest.mark.parametrize("written", [[], [(0, 40 * BLOCK)]], ids=["all hole", "full"])
def test_a_file_without_data_has_no_parts_and_a_full_one_is_not_asked_about(
    on_tmpfs: Path, written: list[tuple[int, int]]
) -> None:
    path = sparse(on_tmpfs / "f", 40 * BLOCK, written)
    assert look(path) == (None if written else [])


def _answering(answer: Callable[[int, int], int]) -> Callable[[int, int, int], int]:
    return lambda fd, at, how: answer(at, how)


def _refuse(at: int, how: int) -> int:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@pytest.mark.parametrize(
    "answer",
    [_refuse, lambda at, how: 0, lambda at, how: at, lambda at, how: at + (1 << 40), lambda at, how: -1],
    ids=["refuses", "zero", "no step", "beyond", "negative"],
)
def test_who_does_not_tell_of_holes_or_tells_nonsense_is_taken_for_full(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[int, int], int]
) -> None:
    path = sparse(on_tmpfs / "f", 1000 * BLOCK, [(0, BLOCK)])
    monkeypatch.setattr(os, "lseek", _answering(answer))
    assert look(path) is None


def test_who_says_that_all_is_data_is_believed(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sparse(on_tmpfs / "f", 1000 * BLOCK, [(0, BLOCK)])
    monkeypatch.setattr(os, "lseek", _answering(lambda at, how: at if how == os.SEEK_DATA else 1000 * BLOCK))
    assert look(path) == [(0, 1000 * BLOCK, 1000 * BLOCK)]


@needs_commands("fallocate")
def test_what_is_only_allocated_is_no_data_beside_holes(on_disk: Path) -> None:
    path = sparse(on_disk / "f", 64 << 20, [(0, BLOCK)])
    subprocess.run(["fallocate", "-o", str(8 << 20), "-l", str(8 << 20), path], check=True)
    found = look(path)
    assert found is not None
    assert found[0][:2] == (0, BLOCK) and sum(amount for _, _, amount in found) in (BLOCK, BLOCK + (8 << 20))
