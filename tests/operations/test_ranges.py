"""A big file that is copied in ranges, by several ranks, comes out as with `cp -a`, complete or not at all.

Driven without ranks or messages: threads with a place of two ranks do what the plan of ranges says. Judged by rsync,
lstat, cp and cmp.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.host.commands import Commands, Stopped
from hpcp_mpi.host.stage import sweep
from hpcp_mpi.operations import copying, ranging
from hpcp_mpi.operations.workplace import Workplace, root_of
from hpcp_mpi.plan.ranges import Ranges
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.job import CopyJob
from hpcp_mpi.vocab.options import CopyOptions
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.tally import one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units
from tests.support import faultfs, oracle
from tests.support.marks import needs_commands, needs_fuse, needs_root

BLOCK = 4096
RANGE = 4 * BLOCK
SIZE = 10 * RANGE + 123
REPOSITORY = Path(__file__).resolve().parents[2]
DO = {Kind.BEGIN: ranging.begin, Kind.RANGE: ranging.copy_range, Kind.FINISH: ranging.finish}
Meddle = Callable[[Batch], None]


@dataclass
class Copying:
    """A copy of src to dst by two ranks."""

    src: Path
    dst: Path
    options: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    batches: list[Batch] = field(default_factory=list)  # all that were done

    def __post_init__(self) -> None:
        source, dest = root_of(os.fsencode(self.src)), root_of(os.fsencode(self.dst))
        job = CopyJob(
            options=CopyOptions(**self.options),
            sources=(source,),
            destination=dest.path,
            destination_root=dest,
            merged=frozenset(),
            window_ns=0,
            token="token",
        )
        self.places = [Workplace(job, Commands(), rank) for rank in (1, 2)]
        self.plan = Ranges(RANGE, alignment=BLOCK)

    def batch(self, *names: str, source_dir: str = "", dest_dir: str = "", kind: Kind = Kind.BEGIN) -> Batch:
        """Files as they are now; "old:new" gets another name."""
        units = []
        for name, _, dest_name in (name.partition(":") for name in names):
            size = (self.src / source_dir / name).lstat().st_size
            units.append(Unit(os.fsencode(name), one_file(size), size, os.fsencode(dest_name) or None))
        return Batch(kind, 0, os.fsencode(source_dir), os.fsencode(dest_dir), Units.of(units))

    def run(self, *names: str, meddle: Meddle = lambda batch: None, threads: int = 1, **where: str) -> Outcome:
        """Copy files. meddle is called before each batch; with one thread they come one after the other."""
        waiting = [self.batch(*names, **where)]
        with ThreadPoolExecutor(threads) as pool:
            while waiting:
                outcomes = list(pool.map(lambda numbered: self._do(*numbered, meddle), enumerate(waiting)))
                waiting = []
                for outcome in outcomes:
                    for news in outcome.news:
                        waiting += [one for batch in self.plan.hear(news) for one in singly(batch)]
                    outcome.news = []
                    self.outcome.add(outcome)
        for place in self.places:
            place.stages.close()
        assert self.plan.idle
        return self.outcome

    def _do(self, number: int, batch: Batch, meddle: Meddle) -> Outcome:
        meddle(batch)
        self.batches.append(batch)
        outcome = Outcome()
        place = self.places[number % 2]
        try:
            DO[batch.kind](place, batch, outcome)
        finally:
            place.release()
        return outcome

    def kinds(self, kind: Kind) -> int:
        return sum(batch.kind is kind for batch in self.batches)


def singly(batch: Batch) -> Iterator[Batch]:
    while len(batch.units):
        first, batch = batch.split(1)
        yield first


@pytest.fixture
def copying_in(place: Path) -> Callable[..., Copying]:
    """copying_in(**options): from `src` to `dst`, on each file system."""
    return lambda **options: started(place, **options)


@pytest.fixture
def quick(on_tmpfs: Path) -> Callable[..., Copying]:
    """The same in memory only."""
    return lambda **options: started(on_tmpfs, **options)


def started(place: Path, **options: Any) -> Copying:
    for name in ("src", "dst"):
        (place / name).mkdir(exist_ok=True)
    return Copying(place / "src", place / "dst", options)


def fill(path: Path, size: int = SIZE, holes: bool = False) -> Path:
    with open(path, "wb") as file:
        for at in range(0, size, 2 * RANGE if holes else RANGE):
            file.seek(at)
            file.write(os.urandom(min(RANGE, size - at)))
        file.truncate(size)
    return path


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def once(kind: Kind, deed: Callable[[], object], before: int = 1) -> Meddle:
    """Meddle before the nth batch of a kind."""
    left = [before]

    def meddle(batch: Batch) -> None:
        if batch.kind is kind:
            left[0] -= 1
            if left[0] == 0:
                deed()

    return meddle


def spoilt(job: Copying, name: str, reason: str, vanished: bool = False) -> Failure:
    """One failure of one file, and nothing of it at the destination."""
    (failure,) = job.outcome.failures
    assert failure.path == os.fsencode(job.src / name)
    assert reason in failure.reason, failure
    assert failure.vanished is vanished
    assert failure.attempted == SIZE or reason == "is gone"
    assert names(job.dst) == []
    assert job.outcome.copied.files == 0
    return failure


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights, in this process and in those it starts."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


# --- a true copy


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("holes", [False, True], ids=["dense", "sparse"])
def test_a_file_in_ranges_comes_out_as_with_cp(copying_in: Callable[..., Copying], threads: int, holes: bool) -> None:
    job = copying_in()
    path = fill(job.src / "f", holes=holes)
    os.setxattr(path, "user.colour", b"blue")
    subprocess.run(["setfacl", "-m", "u:33:r,g:44:rw", path], check=True)
    os.utime(path, ns=(1_000_000_007_123_456_789, 1_111_111_111_987_654_321))
    before = path.stat()
    outcome = job.run("f", threads=threads)
    assert outcome.failures == [] and outcome.notes == []
    assert outcome.copied == one_file(SIZE)
    assert outcome.touched == {(0, b"", b"")}
    assert (job.kinds(Kind.RANGE), job.kinds(Kind.FINISH)) == (11, 1)
    copy = (job.dst / "f").stat()
    assert (copy.st_mtime_ns, copy.st_atime_ns) == (before.st_mtime_ns, before.st_atime_ns)
    oracle.assert_equal_trees(job.src, job.dst, top=False)


@needs_root
@pytest.mark.parametrize("mode", [0o4755, 0o2711, 0o000, 0o444])
@pytest.mark.parametrize("owner", [(0, 0), (33, 44), (65534, 65534)])
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_owner_and_mode_are_those_that_cp_gives(
    quick: Callable[..., Copying], user: str, owner: tuple[int, int], mode: int
) -> None:
    job = quick()
    path = fill(job.src / "f")
    os.chown(path, *owner)
    path.chmod(mode)
    other = job.dst.parent / "cp"
    other.mkdir()
    for directory in (job.dst, other):
        os.chown(directory, *((65534, 65534) if user == "nobody" else (0, 0)))
    command = ["cp", "-a", path, other / "f"]
    if user == "root":
        subprocess.run(command, check=True)
        job.run("f")
    else:
        job.places = [Workplace(place.job, place.commands, 1) for place in job.places]
        with as_nobody():
            readable = subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
            job.run("f")
        if not readable:
            spoilt(job, "f", "cannot open")
            return
    assert job.outcome.failures == []
    expected, found = (other / "f").stat(), (job.dst / "f").stat()
    for key in ("st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_size"):
        assert getattr(expected, key) == getattr(found, key), key
    assert subprocess.run(["cmp", path, job.dst / "f"]).returncode == 0


@needs_commands("getfacl", "setfacl")
def test_what_a_directory_passes_on_is_not_what_the_copy_gets(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f").chmod(0o640)
    subprocess.run(["setfacl", "-d", "-m", "u:33:rwx", job.dst], check=True)
    job.run("f")
    assert job.outcome.failures == []
    acls = [subprocess.run(["getfacl", "-cp", d / "f"], capture_output=True).stdout for d in (job.src, job.dst)]
    assert acls[0] == acls[1]


@pytest.mark.parametrize("sparse", ["always", "never"])
def test_holes_are_made_and_filled_as_asked(quick: Callable[..., Copying], sparse: str) -> None:
    job = quick(sparse=sparse)
    fill(job.src / "f", holes=sparse == "never")
    with open(job.src / "f", "r+b") as file:
        file.seek(0 if sparse == "always" else SIZE)
        file.write(bytes(RANGE))
    job.run("f")
    subprocess.run(["cmp", job.src / "f", job.dst / "f"], check=True)
    blocks = [(d / "f").stat().st_blocks for d in (job.src, job.dst)]
    assert blocks[1] < blocks[0] if sparse == "always" else blocks[1] * 512 >= SIZE > blocks[0] * 512


def test_files_of_one_batch_get_their_names_whatever_they_are(quick: Callable[..., Copying]) -> None:
    job = quick()
    strange = "a\n$'b' \udcff"
    (job.src / "in").mkdir()
    for name, size in {strange: SIZE, "empty": 0, "-f": 1, "old": RANGE}.items():
        fill(job.src / "in" / name, size)
    outcome = job.run(strange, "empty", "-f", "old:new", source_dir="in", dest_dir="to/there", threads=4)
    assert outcome.failures == [] and outcome.copied.files == 4
    (job.src / "in" / "old").rename(job.src / "in" / "new")
    oracle.assert_equal_trees(job.src / "in", job.dst / "to/there", top=False)


def test_nothing_is_open_and_nothing_is_left_when_all_is_done(quick: Callable[..., Copying]) -> None:
    job = quick()
    before = len(os.listdir("/proc/self/fd"))
    fill(job.src / "f")
    job.run("f", threads=4)
    assert names(job.dst) == ["f"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(quick: Callable[..., Copying]) -> None:
    job = quick(dry_run=True, itemize=True)
    fill(job.src / "f")
    outcome = job.run("f")
    assert outcome.copied == one_file(SIZE) and names(job.dst) == []
    assert outcome.items == [(">f+++++++++", b"f", b"")]


@pytest.mark.parametrize("there", [False, True], ids=["new", "over an old one"])
def test_a_file_has_the_same_line_as_one_that_cp_copies(quick: Callable[..., Copying], there: bool) -> None:
    job, lines = quick(itemize=True), []
    fill(job.src / "f").chmod(0o600)
    if there:
        fill(job.dst / "f", 10).chmod(0o644)
    pretending = Copying(job.src, job.dst, {"itemize": True, "dry_run": True})
    reference = Outcome()
    copying.copy(pretending.places[0], [job.batch("f", kind=Kind.COPY)], reference)
    lines = job.run("f").items
    assert lines == reference.items and len(lines) == 1


def test_an_old_file_is_replaced_in_one_step_also_if_it_is_read_only_or_a_link(quick: Callable[..., Copying]) -> None:
    job = quick()
    for name in ("f", "g"):
        fill(job.src / name)
    fill(job.dst.parent / "outside", 7)
    fill(job.dst / "f", 99).chmod(0o400)
    (job.dst / "g").symlink_to("../outside")
    before = (job.dst / "f").stat().st_ino
    seen = []
    job.run("f", "g", meddle=lambda batch: seen.append((job.dst / "f").stat()))
    assert {(status.st_ino, status.st_size) for status in seen[:-1]} == {(before, 99)}
    oracle.assert_equal_trees(job.src, job.dst, top=False)
    assert (job.dst.parent / "outside").stat().st_size == 7


def test_blocks_that_can_be_shared_are_all_there_is_to_do(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch
) -> None:
    def clone(dest: int, request: int, source: int) -> int:
        os.sendfile(dest, source, 0, SIZE)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    job = quick(itemize=True)
    fill(job.src / "f")
    outcome = job.run("f")
    assert job.kinds(Kind.RANGE) == 0
    assert outcome.copied == one_file(SIZE) and len(outcome.items) == 1
    oracle.assert_equal_trees(job.src, job.dst, top=False)


def test_blocks_that_must_be_shared_and_cannot_are_a_failure(quick: Callable[..., Copying]) -> None:
    job = quick(reflink="always")
    fill(job.src / "f")
    job.run("f")
    spoilt(job, "f", "failed to clone")


# --- a source that does not stay what it is


@pytest.mark.parametrize("kind, before", [(Kind.RANGE, 1), (Kind.RANGE, 5), (Kind.RANGE, 11), (Kind.FINISH, 1)])
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
    reason = {"vanishes": "is gone", "is a link": "cannot be opened", "a fifo": "no regular file"}
    spoilt(job, "f", reason.get(how, "it changed while it was copied"), vanished=how == "vanishes")
    job.run("good")
    assert names(job.dst) == ["good"]


def test_a_source_that_shrinks_under_a_reader_is_not_copied(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = quick()
    path = fill(job.src / "f")
    real = os.copy_file_range

    def shrink(source: int, dest: int, count: int, *offsets: int) -> int:
        os.truncate(path, 3 * RANGE)
        return real(source, dest, count, *offsets)

    monkeypatch.setattr(os, "copy_file_range", shrink)
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
    ranging.begin(job.places[0], batch, job.outcome)
    assert job.outcome.news == []
    if how == "is gone":
        spoilt(job, "f", "is gone", vanished=True)
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


def stage_of(job: Copying) -> Path:
    return job.dst / next(name for name in names(job.dst) if name.startswith(".hpcp-mpi."))


@pytest.mark.parametrize("kind, before", [(Kind.RANGE, 1), (Kind.RANGE, 5), (Kind.FINISH, 1)])
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
    spoilt(job, "f", "the private directory that it was copied in")


@pytest.mark.parametrize("how", ["a link to a trap", "an open directory", "the stage of another file"])
@pytest.mark.parametrize("kind", [Kind.RANGE, Kind.FINISH])
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


# --- a destination that fails


@needs_root
def test_a_full_file_system_spoils_only_what_does_not_fit(tmp_path: Path) -> None:
    job = started(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", job.dst], check=True)
    try:
        job = started(tmp_path)
        fill(job.src / "big", 2 * SIZE)
        fill(job.src / "small", RANGE)
        outcome = job.run("big", threads=2)
        (failure,) = outcome.failures
        assert failure.path == os.fsencode(job.src / "big")
        assert failure.reason == "its copy cannot be written: No space left on device"
        job.run("small", threads=2)
        assert names(job.dst) == ["small"] and len(outcome.failures) == 1
        oracle.assert_equal_trees(job.src, job.dst, exclude=["big"], top=False)
    finally:
        subprocess.run(["umount", job.dst], check=True)


@needs_fuse
@pytest.mark.parametrize("side", ["src", "dst"])
def test_a_file_whose_blocks_cannot_be_read_or_written_is_named(on_tmpfs: Path, side: str) -> None:
    for name in ("src", "dst"):
        (on_tmpfs / name).mkdir()
    for name in ("bad", "good"):
        fill(on_tmpfs / "src" / name)
    # The copy is called like its stage, which is called after the rank.
    faults = {"eio_read": "bad"} if side == "src" else {"eio_write": ".token.1."}
    with faultfs.mounted(on_tmpfs / side, **faults) as mountpoint:
        ends = {"src": on_tmpfs / "src", "dst": on_tmpfs / "dst", side: mountpoint}
        job = Copying(ends["src"], ends["dst"])
        job.run("bad")
        (failure,) = job.outcome.failures
        words = "cannot be read" if side == "src" else "its copy cannot be written"
        assert failure.reason == f"{words}: Input/output error"
        assert names(job.dst) == []
        if side == "src":
            job.run("good")
            assert names(job.dst) == ["good"] and len(job.outcome.failures) == 1


def test_a_file_lands_without_the_metadata_that_cannot_be_set(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Commands.run

    def complain(self: Commands, arguments: list[bytes], *rest: Any) -> tuple[int, bytes]:
        _, stderr = real(self, arguments, *rest)
        return 1, stderr + b"cp: failed to preserve ownership for '%s': Operation not permitted\n" % arguments[-1]

    monkeypatch.setattr(Commands, "run", complain)
    job = quick()
    fill(job.src / "f")
    job.run("f")
    (failure,) = job.outcome.failures
    assert failure.path == os.fsencode(job.src / "f")
    assert failure.reason == "cp failed to preserve ownership for: Operation not permitted"
    assert failure.attempted == 0 and job.outcome.copied == one_file(SIZE)
    oracle.assert_equal_trees(job.src, job.dst, top=False)


@pytest.mark.parametrize(
    "answer, reason", [((1, b""), "exit code 1"), ((1, b"cp: memory exhausted\n"), "memory"), ((-9, b""), "signal 9")]
)
def test_a_cp_that_does_nothing_leaves_no_file_without_its_mtime(
    quick: Callable[..., Copying], monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes], reason: str
) -> None:
    monkeypatch.setattr(Commands, "run", lambda *args: answer)
    job = quick()
    os.utime(fill(job.src / "f"), (1, 1))
    job.run("f")
    spoilt(job, "f", reason)


# --- runs that end early


@pytest.mark.parametrize("kind, before", [(Kind.RANGE, 1), (Kind.RANGE, 6), (Kind.FINISH, 1)])
def test_a_run_that_is_stopped_takes_its_stages_with_it(quick: Callable[..., Copying], kind: Kind, before: int) -> None:
    job = quick()
    fill(job.src / "f")

    def deed() -> None:
        for place in job.places:
            place.commands.stop()

    with pytest.raises(Stopped):
        job.run("f", meddle=once(kind, deed, before))
    assert "f" not in names(job.dst)
    for place in job.places:
        ranging.abandon(place, job.outcome)
        place.release()
    assert names(job.dst) == [] and job.outcome.notes == []


def test_what_other_ranks_finished_is_not_abandoned(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f")
    job.run("f", threads=2)
    for place in job.places:
        ranging.abandon(place, job.outcome)
    assert names(job.dst) == ["f"]


_VICTIM = """
import sys
from pathlib import Path
from tests.operations.test_ranges import Kind, once, started

def wait():
    print("ready", flush=True)
    sys.stdin.read()

started(Path(sys.argv[1])).run("f", meddle=once(Kind.RANGE, wait, 6))
"""


def test_what_a_killed_run_leaves_is_swept_by_the_next_one_and_not_before(place: Path) -> None:
    job = started(place)
    fill(job.src / "f")
    victim = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, place],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert victim.stdout is not None and victim.stdout.readline() == "ready\n"
        (stage,) = names(job.dst)
        dest = os.open(job.dst, os.O_RDONLY)
        assert not sweep(dest, os.fsencode(stage))
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert names(job.dst) == [stage]
        assert sweep(dest, os.fsencode(stage))
        assert names(job.dst) == []
        os.close(dest)
    finally:
        victim.kill()
        victim.communicate()
    job.run("f")
    oracle.assert_equal_trees(job.src, job.dst, top=False)


def test_a_stage_that_another_run_sweeps_is_a_failure_and_no_file_with_holes(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f")

    def deed() -> None:
        for place in job.places:  # as on a file system that keeps locks to each node
            place.stages.close()
        dest = os.open(job.dst, os.O_RDONLY)
        assert sweep(dest, os.fsencode(stage_of(job).name))
        os.close(dest)

    job.run("f", meddle=once(Kind.RANGE, deed, 4))
    spoilt(job, "f", "the private directory that it was copied in is lost: No such file or directory")


def test_work_of_one_kind_may_come_in_any_portions(quick: Callable[..., Copying]) -> None:
    job = quick()
    fill(job.src / "f")
    ranging.begin(job.places[0], job.batch("f"), job.outcome)
    (batch,) = job.plan.hear(job.outcome.news.pop())
    first, rest = batch.split(7)
    for place, part in zip(job.places, (rest, replace(first, over=True)), strict=True):
        ranging.copy_range(place, part, job.outcome)
    finish = [work for news in job.outcome.news for work in job.plan.hear(news)]
    assert [work.kind for work in finish] == [Kind.FINISH]
    ranging.finish(job.places[1], finish[0], job.outcome)
    oracle.assert_equal_trees(job.src, job.dst, top=False)
