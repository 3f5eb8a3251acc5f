"""An entry gets a name only if nothing has it, on any file system."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.host.entries import rename_if_free

WAYS = pytest.mark.parametrize("way", ["in one step", "by a link", "by a look"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, int, int]]:
    """Two directories, one with a file; and their descriptors."""
    fds = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        fds.append(os.open(tmp_path / name, os.O_RDONLY))
    (tmp_path / "one/f").write_text("f")
    yield tmp_path, fds[0], fds[1]
    for fd in fds:
        os.close(fd)


def only(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only one way that works, as on some file systems."""
    if way == "in one step":
        return

    class Library:
        @staticmethod
        def renameat2(*args: Any) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    def refuse(*args: Any, **more: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **more: Library)
    if way == "by a look":
        monkeypatch.setattr(os, "link", refuse)


@WAYS
def test_an_entry_gets_a_free_name(way: str, place: tuple[Path, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    root, one, two = place
    only(way, monkeypatch)
    rename_if_free(b"f", one, b"g", two)
    assert (root / "two/g").read_text() == "f" and os.listdir(root / "one") == []
    assert (root / "two/g").stat().st_nlink == 1


@WAYS
def test_a_name_that_something_has_stays(
    way: str, place: tuple[Path, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, one, two = place
    (root / "two/g").write_text("another")
    only(way, monkeypatch)
    with pytest.raises(OSError):
        rename_if_free(b"f", one, b"g", two)
    assert (root / "two/g").read_text() == "another" and (root / "one/f").read_text() == "f"
