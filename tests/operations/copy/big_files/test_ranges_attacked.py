"""Whatever becomes of the source or the stage of a big file while it is copied: it is complete, or not there at all."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable

import pytest

from hpcp_mpi.host import range_copy as ranges
from hpcp_mpi.operations.copy.big_files import beginning
from hpcp_mpi.vocab.units import Kind
from tests.support.ranging import RANGE, SIZE, Copying, fill, names, once, spoilt, stage_of

# --- a source that does not stay what it is


@pytest.mark.parametrize("kind, before", [(Kind.RANGE, 1), (Kind.RANGE, 5), (Kind.RANGE, 11), (Kind.FINISH_FILE, 1)])
@pytest.mark.parametrize("how", ["shrinks", "grows", "is written to", "is replaced", "vanishes", "is a link", "a fifo"])
def test_a_source_that_changes_is_not_copied(quick: Callable[..., Copying], kind: Kind, before: int, how: str) -> None:
    job = quick()
    path = fill(job.src / "f")
    fill(job.src / "good")
    other = fill(job.src / "other")
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))

    def deed() -> None:
        if how in ("shrinks", "grows"):
            os.truncate(path, SIZE + (1 if how == "grows" else -1))
        elif how == "is written to":
            with open(path, "r+b") as file:
                file.write(b"!")
        elif how == "is replaced":
            other.rename(path)
        else:
            path.unlink()
            if how == "is a link":
                path.symlink_to("other")
            elif how == "a fifo":
                os.mkfifo(path)

    job.run("f", meddle=once(kind, deed, before))
    reason = {"vanishes": "vanished", "is a link": "cannot be opened", "a fifo": "not a regular file"}
    spoilt(job, "f", reason.get(how, "it changed while it was copied"), vanished=how == "vanishes")
    job.run("good")
    assert names(job.dst) == ["good"]


@pytest.mark.parametrize("call, cpus", [("copy_file_range", 1), ("preadv", 2)])
def test_a_source_that_shrinks_under_a_reader_is_not_copied(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch, call: str, cpus: int
) -> None:
    """With several CPUs, pages are read and put into a file on tmpfs."""
    monkeypatch.setattr(ranges, "cpus", lambda: cpus)
    job = quick()
    path = fill(job.src / "f")
    real = getattr(os, call)

    def shrink(source: int, *args: object) -> object:
        os.truncate(path, 3 * RANGE)
        return real(source, *args)

    monkeypatch.setattr(os, call, shrink)
    job.run("f", meddle=lambda batch: None)
    assert names(job.dst) == []
    (failure,) = job.outcome.failures
    assert "it shrank" in failure.reason or "it changed" in failure.reason


def test_a_chmod_or_a_new_hard_link_meanwhile_harms_nothing(quick: Callable[..., Copying]) -> None:
    job = quick()
    path = fill(job.src / "f")

    def deed() -> None:
        path.chmod(0o604)
        (job.src.parent / "link").hardlink_to(path)

    job.run("f", meddle=once(Kind.RANGE, deed, 4))
    assert job.outcome.failures == []
    assert stat.S_IMODE((job.dst / "f").stat().st_mode) == 0o604


@pytest.mark.parametrize("how", ["is gone", "is a link", "is a directory"])
def test_what_is_no_file_when_its_turn_comes_is_left_to_cp(quick: Callable[..., Copying], how: str) -> None:
    job = quick()
    path = fill(job.src / "f")
    batch = job.batch("f")
    path.unlink()
    if how == "is a link":
        path.symlink_to("nowhere")
    elif how == "is a directory":
        path.mkdir()
    beginning.begin(job.places[0], batch, job.outcome)
    assert job.outcome.findings == []
    if how == "is gone":
        spoilt(job, "f", "vanished", vanished=True)
    else:
        assert job.outcome.failures == []
        assert stat.S_IFMT((job.dst / "f").lstat().st_mode) == stat.S_IFMT(path.lstat().st_mode)


def test_a_source_directory_that_becomes_a_link_is_not_followed(quick: Callable[..., Copying]) -> None:
    job = quick()
    (job.src / "d").mkdir()
    fill(job.src / "d/f")
    (job.src / "elsewhere").mkdir()
    fill(job.src / "elsewhere/f")

    def deed() -> None:
        (job.src / "d").rename(job.src / "aside")
        (job.src / "d").symlink_to("elsewhere")

    job.run("f", source_dir="d", meddle=once(Kind.RANGE, deed, 3))
    (failure,) = job.outcome.failures
    assert failure.path == os.fsencode(job.src / "d/f") and names(job.dst) == []


# --- a stage that does not stay


@pytest.mark.parametrize("kind, before", [(Kind.RANGE, 1), (Kind.RANGE, 5), (Kind.FINISH_FILE, 1)])
@pytest.mark.parametrize("what", ["stage", "copy in it"])
def test_what_is_removed_meanwhile_is_not_made_anew(
    quick: Callable[..., Copying], kind: Kind, before: int, what: str
) -> None:
    job = quick()
    fill(job.src / "f")

    def deed() -> None:
        stage = stage_of(job)
        if what == "stage":
            shutil.rmtree(stage)
        else:
            (stage / stage.name).unlink()

    job.run("f", meddle=once(kind, deed, before))
    spoilt(job, "f", "its staging directory")


@pytest.mark.parametrize("how", ["a link to a trap", "an open directory", "the stage of another file"])
@pytest.mark.parametrize("kind", [Kind.RANGE, Kind.FINISH_FILE])
def test_nothing_is_written_to_what_takes_the_name_of_a_stage(
    quick: Callable[..., Copying], kind: Kind, how: str
) -> None:
    job = quick()
    fill(job.src / "f")
    trap = job.dst.parent / "trap"
    trap.mkdir(0o700)

    def deed() -> None:
        stage = stage_of(job)
        (trap / stage.name).write_bytes(bytes(SIZE))
        stage.rename(job.dst.parent / "aside")
        if how == "a link to a trap":
            stage.symlink_to(trap)
        elif how == "an open directory":
            stage.mkdir(0o755)
        else:
            stage.mkdir(0o700)
            (stage / "another").write_bytes(bytes(SIZE))

    job.run("f", meddle=once(kind, deed))
    assert len(job.outcome.failures) == 1 and "f" not in names(job.dst)
    assert {path.read_bytes() for path in trap.iterdir()} == {bytes(SIZE)}


def test_a_copy_that_is_swapped_for_a_link_is_not_written_through(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f")
    trap = job.dst.parent / "trap"
    trap.write_bytes(b"mine")

    def deed() -> None:
        copy = stage_of(job) / stage_of(job).name
        copy.unlink()
        copy.symlink_to(trap)

    job.run("f", meddle=once(Kind.RANGE, deed, 3))
    spoilt(job, "f", "its copy cannot be written")
    assert trap.read_bytes() == b"mine"


def test_a_directory_with_something_in_it_is_not_replaced(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f")
    (job.dst / "f").mkdir()
    (job.dst / "f/mine").touch()
    job.run("f")
    (failure,) = job.outcome.failures
    assert "not empty" in failure.reason
    assert names(job.dst) == ["f"] and job.outcome.copied.files == 0
