"""Free space by statvfs, and by quotactl_fd for quotas. No quota is no limit, and no error."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.host import free_space as quota
from hpcp_mpi.host.free_space import FreeSpace, rooms
from tests.support.marks import needs_root

NOW = (0, 0, 0b111111)  # times of grace, and what is valid


@pytest.fixture
def directory(on_disk: Path) -> Any:
    fd = os.open(on_disk, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_without_quotas_there_is_what_the_file_system_has(directory: int) -> None:
    status = os.fstatvfs(directory)
    (root,), (user,) = rooms(directory, 0, 0), rooms(directory, 1000, 1000)
    assert root.whose == user.whose == ""
    assert user.bytes is not None and root.bytes is not None and user.bytes <= root.bytes
    assert abs(user.bytes - status.f_bavail * status.f_frsize) < 1 << 30  # other programs write meanwhile


class Kernel:
    """A fake kernel that answers quotactl_fd: (kind, number) -> struct if_dqblk."""

    def __init__(self, answers: dict[tuple[int, int], tuple[int, ...]]) -> None:
        self.answers = answers
        self.asked: list[tuple[int, int]] = []

    def __call__(self, directory: int, command: int, number: int, answer: ctypes.Array[ctypes.c_char]) -> int:
        assert command >> 8 == 0x800007 and len(answer) == 72
        self.asked.append((command & 0xFF, number))
        found = self.answers.get(self.asked[-1])
        if found is None:
            return -1
        answer.raw = quota._ANSWER.pack(*found, *NOW)
        return 0


@pytest.mark.parametrize(
    ("answer", "bytes_left", "inodes_left"),
    [
        ((2048, 1024, 1 << 20, 50, 40, 8), 1 << 20, 42),  # hard limits count
        ((0, 1024, 1 << 19, 0, 40, 8), 1 << 19, 32),  # else soft ones: they are hard after some days
        ((1, 0, 1 << 20, 0, 0, 8), 0, None),  # used up; no limit of inodes
    ],
)
def test_a_quota_leaves_its_limit_without_what_is_used(
    directory: int, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, ...], bytes_left: int, inodes_left: int | None
) -> None:
    monkeypatch.setattr(quota, "_call", Kernel({(0, 1000): answer}))
    assert rooms(directory, 1000, 1000)[1:] == [FreeSpace("the quota of user 1000", bytes_left, inodes_left)]


def test_a_quota_without_limits_is_none(directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_call", Kernel({(0, 1000): (0, 0, 5, 0, 0, 5), (1, 7): (0, 0, 5, 0, 0, 5)}))
    assert len(rooms(directory, 1000, 7)) == 1


def test_root_is_bound_by_the_project_only(directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = (1024, 0, 0, 0, 0, 0)
    kernel = Kernel({(0, 0): limits, (1, 0): limits, (2, 12): limits})
    monkeypatch.setattr(quota, "_call", kernel)
    monkeypatch.setattr(quota, "project_of", lambda fd: 12)
    assert [room.whose for room in rooms(directory, 0, 0)] == ["", "the quota of project 12"]
    assert [room.whose for room in rooms(directory, 5, 6)] == ["", "the quota of project 12"]
    assert kernel.asked == [(2, 12), (0, 5), (1, 6), (2, 12)]


def test_the_real_system_call_is_made_and_may_be_refused(directory: int) -> None:
    answer = ctypes.create_string_buffer(quota._ANSWER.size)
    assert quota._call(directory, 0x800007 << 8, os.getuid(), answer) in (0, -1)
    assert quota.project_of(directory) >= 0


@needs_root
def test_flags_are_those_of_chattr(on_disk: Path, directory: int) -> None:
    assert not quota.flags_of(directory) & (quota.APPEND_ONLY | quota.IMMUTABLE)
    for letter, flag in (("i", quota.IMMUTABLE), ("a", quota.APPEND_ONLY)):
        subprocess.run(["chattr", f"+{letter}", on_disk], check=True)
        found = quota.flags_of(directory)
        subprocess.run(["chattr", f"-{letter}", on_disk], check=True)
        assert found & flag
