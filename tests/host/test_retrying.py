"""Errors that may be over in a moment are retried a few times, and not for ever."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.host import retrying
from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.host.retrying import in_the_end, names_passing, retried
from tests.support.faultfs import mounted
from tests.support.marks import needs_fuse


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; they take no time."""
    made: list[float] = []
    monkeypatch.setattr(retrying, "_patience", retrying._Patience())
    monkeypatch.setattr(retrying, "_sleep", lambda seconds, stopped: made.append(seconds))
    return made


def failing(number: int, times: int) -> Callable[[], str]:
    """A function that fails so many times, and then works."""
    left = [times]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return "done"

    return call


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN])
def test_what_is_over_after_some_tries_is_done(number: int, pauses: list[float]) -> None:
    for times in range(4):
        assert retried(failing(number, times)) == "done"
    assert pauses == [0.1, 0.1, 0.5, 0.1, 0.5, 2.0]


def test_what_does_not_pass_is_not_tried_again(pauses: list[float]) -> None:
    for number in (errno.EIO, errno.ENOENT, errno.EREMOTEIO, errno.ETIMEDOUT):
        with pytest.raises(OSError) as failure:
            retried(failing(number, 1))
        assert failure.value.errno == number
    assert pauses == []


def test_where_all_tries_were_in_vain_nothing_waits_for_a_while(pauses: list[float]) -> None:
    for _ in range(3):
        with pytest.raises(OSError):
            retried(failing(errno.ENOTCONN, 9))
    assert pauses == [0.1, 0.5, 2.0, 0, 0]
    # One more try without a pause is worth it, and when it was, there are pauses again.
    assert retried(failing(errno.ESTALE, 1)) == "done"
    assert retried(failing(errno.ESTALE, 1)) == "done"
    assert pauses == [0.1, 0.5, 2.0, 0, 0, 0, 0.1]


def test_a_run_that_ends_waits_for_nothing() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise OSError(errno.ENOTCONN, "words")

    with pytest.raises(OSError):
        retried(call, lambda: True)
    assert len(calls) == 2


def test_a_call_that_failed_already_is_told_of_as_it_ended(pauses: list[float]) -> None:
    stale = OSError(errno.ESTALE, "words")
    assert in_the_end(stale, failing(errno.ESTALE, 1)) is None
    gone = in_the_end(stale, failing(errno.ENOENT, 1))
    assert gone is not None and gone.errno == errno.ENOENT
    other = OSError(errno.EIO, "words")
    assert in_the_end(other, failing(errno.EIO, 0)) is other


def test_the_words_of_cp_tell_what_passes() -> None:
    assert names_passing("cp cannot create regular file: Stale file handle")
    assert names_passing("cannot write to /d: Transport endpoint is not connected")
    assert not names_passing("cp error writing: Input/output error")


@needs_fuse
def test_a_directory_that_went_stale_is_opened_anew(tmp_path: Path) -> None:
    (tmp_path / "b/one/two").mkdir(parents=True)
    (tmp_path / "b/one/three").mkdir()
    with mounted(tmp_path / "b", fail_op="opendir", fail_errno=errno.ENOTCONN, fail_first=3, fail_count=2) as mount:
        tree = Tree(os.fsencode(mount))
        try:
            for path in (b"one/two", b"one/three", b"one"):
                with tree.at(path) as fd:
                    assert os.listdir(fd) == os.listdir(tmp_path / "b" / os.fsdecode(path))
        finally:
            tree.close()
