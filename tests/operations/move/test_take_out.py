"""Between the last look at a source and its removal another entry may get its name: that one never goes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.operations.move import take_out
from hpcp_mpi.operations.move import worker as moving
from tests.operations.move.test_move import names
from tests.support import direct
from tests.support.copies import stages
from tests.support.trees import Dir, File, HardLink, Symlink, build

REASON = "changed during the move, or just before; kept"


class Naive:
    """Removes by name, as the unlink of any removal does."""

    def __init__(self, *args: Any) -> None: ...
    def __enter__(self) -> Naive:
        return self

    def __exit__(self, *args: object) -> None: ...
    def unlink(self, directory: int, path: bytes, name: bytes) -> None:
        os.unlink(name, dir_fd=directory)

    def rmdir(self, directory: int, path: bytes, name: bytes) -> None:
        os.rmdir(name, dir_fd=directory)


def between(happens: Callable[[], None], disposer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something happen when d/f was found good, right before it is removed."""
    done: list[bool] = []

    class Late(disposer):  # type: ignore[misc]
        def unlink(self, directory: int, path: bytes, name: bytes) -> None:
            if (path, name) == (b"d", b"f") and not done:
                done.append(True)
                happens()
            super().unlink(directory, path, name)

    monkeypatch.setattr(moving, "TakenOut", Late)


def scene(place: Path) -> tuple[Path, Path]:
    build(place / "src", {"d": Dir({"f": File(b"first"), "g": File(b"g")}), "new": Dir({"f": File(b"newer")})})
    os.rename(place / "src/new", place / "new")
    return place / "src", place / "dst"


@pytest.mark.parametrize("disposer", [Naive, take_out.TakenOut], ids=["naive", "tool"])
@pytest.mark.parametrize("what", ["file", "link", "directory", "second name"])
def test_what_gets_the_name_meanwhile_stays_under_it(
    what: str, disposer: Any, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if disposer is Naive and what == "directory":
        return  # an unlink does not remove it
    src, dst = scene(on_tmpfs)
    new = on_tmpfs / "new/f"
    if what == "link":
        build(on_tmpfs, {"l": Symlink("precious")})
        new = on_tmpfs / "l"
    elif what == "second name":
        build(on_tmpfs, {"name": HardLink("new/f")})

    def change() -> None:
        if what == "directory":
            os.rename(src / "d/f", src / "d/old")
            os.rename(on_tmpfs / "new", src / "d/f")
        else:
            os.rename(new, src / "d/f")

    between(change, disposer, monkeypatch)
    report = direct.copy(src, dst, move=True)
    if disposer is Naive:
        assert report.failures == [] and not os.path.lexists(src / "d/f"), "the attack takes what has no copy"
        return
    assert [(failure.path, failure.reason) for failure in report.failures] == [(os.fsencode(src / "d/f"), REASON)]
    found = src / "d/f"
    assert {
        "link": lambda: os.readlink(found) == "precious",
        "directory": lambda: (found / "f").read_bytes() == b"newer" and (src / "d/old").read_bytes() == b"first",
    }.get(what, lambda: found.read_bytes() == b"newer")()
    assert (dst / "d/f").read_bytes() == b"first" and not (src / "d/g").exists()
    assert stages(src) == []


def test_what_comes_after_the_name_was_gone_stays(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src, dst = scene(on_tmpfs)
    real = moving.CopiedGuard.must_keep

    def must_keep(self: Any, directory: int, path: bytes, name: bytes) -> bool:
        if name != b"f":
            return real(self, directory, path, name)
        os.unlink(src / "d/f")
        kept = real(self, directory, path, name)
        os.rename(on_tmpfs / "new/f", src / "d/f")
        return kept

    monkeypatch.setattr(moving.CopiedGuard, "must_keep", must_keep)
    direct.copy(src, dst, move=True)
    assert (src / "d/f").read_bytes() == b"newer"


def test_a_name_that_is_taken_twice_keeps_both(on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name has a third entry when the second one is to go back: that stays where it is, and the run says where."""
    src, dst = scene(on_tmpfs)
    real = take_out.rename_if_free

    def change() -> None:
        os.rename(on_tmpfs / "new/f", src / "d/f")

    def put_back(*args: Any) -> None:
        (src / "d/f").write_bytes(b"third")
        real(*args)

    between(change, take_out.TakenOut, monkeypatch)
    monkeypatch.setattr(take_out, "rename_if_free", put_back)
    report = direct.copy(src, dst, move=True)
    monkeypatch.undo()
    assert (src / "d/f").read_bytes() == b"third"
    (failure,) = (each for each in report.failures if each.path == os.fsencode(src / "d/f"))
    reason, _, where = failure.reason.partition(": as ")
    assert reason == REASON and Path(where).read_bytes() == b"newer"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EXDEV], ids=["full", "other-quota"])
def test_where_there_is_no_place_to_take_it_to_it_is_looked_at_once_more(
    number: int, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = scene(on_tmpfs)
    real_mkdir, real_rename = os.mkdir, os.rename
    direct.copy(src, dst)

    def mkdir(path: Any, *args: Any, **more: Any) -> None:
        if number == errno.ENOSPC and os.readlink(f"/proc/self/fd/{more['dir_fd']}").startswith(str(src)):
            raise OSError(number, os.strerror(number))
        real_mkdir(path, *args, **more)

    def rename(old: Any, new: Any, **more: Any) -> None:
        if new == b"1" and number == errno.EXDEV:
            raise OSError(number, os.strerror(number))
        real_rename(old, new, **more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "rename", rename)
    between(lambda: real_rename(on_tmpfs / "new/f", src / "d/f"), take_out.TakenOut, monkeypatch)
    report = direct.copy(src, dst, move=True)
    monkeypatch.undo()
    assert names(src) == {b"d", b"d/f"} and (src / "d/f").read_bytes() == b"newer"
    assert [failure.reason for failure in report.failures] == [REASON]
    assert stages(src) == []
