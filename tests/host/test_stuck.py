"""Programs that wait for a pipe that another user swapped in, or are led astray, are ended; others are not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hpcp_mpi.host import commands
from hpcp_mpi.host.commands import Commands, Stuck


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_LOOK", 0.05)
    monkeypatch.setattr(commands, "_STUCK", 0.3)


@pytest.fixture(params=["pidfd", "old kernel"])
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(process: int) -> int:
        raise OSError(38, "Function not implemented")

    if request.param == "old kernel":
        monkeypatch.setattr(os, "pidfd_open", refused)


def never() -> bool:
    return False


@pytest.mark.usefixtures("_kernel")
def test_who_waits_for_a_pipe_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()
    with pytest.raises(Stuck):
        Commands().run([b"cat", b"pipe"], os.fsencode(tmp_path), (), never)
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("_kernel")
def test_who_works_is_not_ended(tmp_path: Path) -> None:
    script = b"i=0; while [ $i -lt 12 ]; do i=$((i + 1)); sleep 0.1; done; exit 7"
    assert Commands().run([b"sh", b"-c", script], os.fsencode(tmp_path), (), never) == (7, b"")


@pytest.mark.usefixtures("_kernel")
def test_a_program_that_ends_soon_is_soon_known_to_have_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    assert Commands().run([b"true"], os.fsencode(tmp_path), (), never) == (0, b"")
    assert time.monotonic() - began < 5


def test_who_is_astray_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Stuck):
        Commands().run([b"sh", b"-c", b"while :; do sleep 0.05; done"], os.fsencode(tmp_path), (), lambda: True)


def test_who_takes_longer_than_allowed_is_ended_for_that(tmp_path: Path) -> None:
    code, said = Commands(0.2).run([b"sh", b"-c", b"while :; do :; done"], os.fsencode(tmp_path), (), never)
    assert code < 0
    assert b"took longer than 0.2 s" in said
