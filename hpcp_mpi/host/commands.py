"""Running other programs; the only user of subprocess.

A program is started without `preexec_fn`, so that Python uses vfork: MPI libraries do not survive a fork.
"""

import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from hpcp_mpi.vocab.errors import FatalError

_LOOK = 1.0  # seconds between two looks at a program: how much it has written, and whether it is stuck
_STUCK = 5.0  # seconds that a program sleeps until it is taken for stuck; if it is not, its work is only done otherwise
_ASK = 0.2  # seconds between two questions whether a program is to end
_ENDING = 5.0  # seconds for a program to end after SIGTERM
_DYING = 10.0  # seconds for a program to end after SIGKILL: one that waits for a server inside the kernel does not
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}


class Stopped(Exception):
    """The run is ending, so no program is started."""


class Stuck(Exception):
    """A program was ended that waits for what may never come, or reads what it was not meant to."""


class Answer(NamedTuple):
    """What a program said."""

    code: int  # negative: the signal that ended it
    output: bytes
    errors: bytes

    @property
    def words(self) -> str:
        """What it complained about, in one line for a message."""
        said = (self.errors.strip() or self.output.strip()).decode("utf-8", "replace")
        return "; ".join(line.strip() for line in said.splitlines() if line.strip()) or f"exit code {self.code}"


class MovedBytes:
    """The bytes moved by each thread since it began a piece of work, by itself or by the programs that it runs.

    They are estimates, for the progress of work that takes long, and its outcome replaces them. Any thread may ask for
    the sum.
    """

    def __init__(self) -> None:
        self._moved: dict[int, int] = {}  # by thread: only that one writes to its own
        self._most: dict[int, int] = {}

    def begin(self, most: int) -> None:
        """Record that the calling thread begins a piece of work of so many bytes."""
        thread = threading.get_ident()
        self._moved.pop(thread, None)
        self._most[thread] = most

    def add(self, count: int) -> None:
        """Count bytes that the calling thread has moved, beyond those it had."""
        thread = threading.get_ident()
        self._moved[thread] = min(self._moved.get(thread, 0) + count, self._most.get(thread, 0))

    @property
    def mine(self) -> int:
        """The bytes that the calling thread has moved."""
        return self._moved.get(threading.get_ident(), 0)

    def back_to(self, count: int) -> None:
        """Have the calling thread have moved so many bytes: what it did since then it does again."""
        self._moved[threading.get_ident()] = count

    def end(self) -> None:
        """Forget what the calling thread has moved: it is counted elsewhere."""
        self._moved.pop(threading.get_ident(), None)

    @property
    def total(self) -> int:
        """The bytes of all threads."""
        return sum(self._moved.copy().values())


class Commands:
    """The running programs of this rank, which can be ended together."""

    def __init__(self, timeout: float = 0.0) -> None:
        """timeout: seconds that one program may take; 0: as long as it likes."""
        self._timeout = timeout
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self.expires = math.inf  # by time.monotonic(): from then on another rank may have this rank's work
        self.moved = MovedBytes()  # by what runs, and by what else the threads do

    @property
    def stopped(self) -> bool:
        return self._stopped or time.monotonic() > self.expires

    def run(
        self,
        arguments: list[bytes],
        directory: bytes,
        descriptors: tuple[int, ...] = (),
        astray: Callable[[], bool] | None = None,
    ) -> tuple[int, bytes]:
        """Run a program in a directory; return its exit code (negative: the signal that ended it) and its stderr.

        One that takes too long is killed, and the last line of its stderr is ours. Raises Stopped after stop().

        descriptors: open files that the program inherits under their numbers.
        astray: given where another user may exchange what the program opens: returns whether that was done. Raises
        Stuck then, and if the program waits for a pipe.
        """
        words = os.memfd_create("stderr", os.MFD_CLOEXEC)  # a pipe would need a reader for every slot
        try:
            with self._lock:
                if self.stopped:
                    raise Stopped
                process = subprocess.Popen(
                    arguments,
                    cwd=directory,
                    env=ENVIRONMENT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=words,
                    pass_fds=descriptors,
                )
                self._running.add(process)
            late = b""
            began = time.monotonic()
            stuck = self._watch(process, astray)
            try:
                code = process.wait(max(0.0, self._timeout - (time.monotonic() - began)) if self._timeout else None)
            except subprocess.TimeoutExpired:
                process.kill()
                late = b"took longer than %g s (-ctl)" % self._timeout
                try:
                    code = process.wait(_DYING)
                except subprocess.TimeoutExpired:
                    code = -signal.SIGKILL
                    late += b", and is not even ended by SIGKILL: its storage does not answer"
                late += b"\n"
            with self._lock:
                self._running.discard(process)
                if self.stopped:
                    raise Stopped
            if stuck:
                raise Stuck
            said = os.pread(words, os.fstat(words).st_size, 0)
            # A killed program may have written half a line: ours starts a new one.
            return code, said + b"\n" * (late != b"" and not said.endswith(b"\n")) + late
        finally:
            os.close(words)

    def _watch(self, process: subprocess.Popen[bytes], astray: Callable[[], bool] | None) -> bool:
        """Wait for a program while its time is not over, and count what it writes; return whether it was stuck."""
        before, written = self.moved.mine, 0

        def look() -> None:
            nonlocal written
            now = max(written, _written_by(process.pid))
            self.moved.add(now - written)
            written = now

        stuck = _ended_if_stuck(process, self._timeout, astray, look)
        if stuck:
            self.moved.back_to(before)  # all of it is done otherwise
        return stuck

    def stop(self) -> None:
        """End every running program at once, and start none again."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()


def _written_by(process: int) -> int:
    """Return how many bytes a program of ours has written so far; 0 where the kernel does not say.

    wchar counts a system call when it ends, and `cp` may copy all of a file with one; write_bytes counts its pages
    meanwhile, on file systems that have a disk or a server behind them.
    """
    try:
        with open(f"/proc/{process}/io", "rb") as file:
            found = dict(line.split(b": ") for line in file.read().splitlines())
        return max(int(found[b"wchar"]), int(found[b"write_bytes"]))
    except (OSError, ValueError, KeyError):
        return 0


def _ended_if_stuck(
    process: subprocess.Popen[bytes], timeout: float, astray: Callable[[], bool] | None, look: Callable[[], None]
) -> bool:
    """Wait for a program; return True if it was killed as it waits for something that is no disk, or is astray.

    timeout: seconds, after which the program is left to the caller; 0: none. astray: None: it is never killed.
    look: called now and then while it runs
    """
    began = time.monotonic()
    until = began + (timeout or math.inf)
    before, since, ask = b"", began, began + _STUCK
    with _ending_of(process) as (ended, at_once):
        if astray is None and not at_once:
            return False  # the caller's waiting ends when the program does
        while not ended(min(_LOOK, until - time.monotonic())):
            now = time.monotonic()
            if now >= until:
                return False
            look()
            if astray is None:
                continue
            found = _switches(process.pid)
            if not found or found != before:
                before, since = found, now
            if now >= ask:
                ask += now - began  # each time twice as late: asking takes a part of what the program takes
                gone = astray()
            else:
                gone = False
            if gone or now - since >= _STUCK:
                process.kill()
                return True
    return False


@contextmanager
def _ending_of(process: subprocess.Popen[bytes]) -> Iterator[tuple[Callable[[float], bool], bool]]:
    """Yield a function that waits some seconds for a program; it returns whether that has ended by then.

    And whether it returns as soon as the program ends.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:  # before Linux 5.3: subprocess looks every 50 ms
        yield lambda seconds: _ends_within(process, seconds), False
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        yield lambda seconds: bool(poll.poll(max(0, seconds) * 1000)), True
    finally:
        os.close(fd)


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(max(0, seconds))
    except subprocess.TimeoutExpired:
        return False
    return True


def _switches(process: int) -> bytes:
    """Return how often a sleeping program has slept: as long as that does not change it did not run. b"": it runs.

    Who waits for a disk or for most servers cannot be interrupted, and does not count as sleeping.
    """
    try:
        with open(f"/proc/{process}/status", "rb") as file:
            lines = file.read().split(b"\n")
    except OSError:
        return b""
    if not any(line.startswith(b"State:\tS") for line in lines):
        return b""
    return b"".join(line for line in lines if b"ctxt_switches" in line)


def answer_of(
    arguments: Sequence[bytes | str],
    given: bytes = b"",
    descriptors: tuple[int, ...] = (),
    stop: Callable[[], bool] | None = None,
) -> Answer:
    """Run a program with what is given as its standard input, however long it takes; return what it said.

    It gets no signals of our terminal: what it does to a disk is ended in good order or not at all.
    descriptors: open files that it inherits under their numbers. stop: asked now and then; if true it is ended, and
    Stopped raised. Raises FatalError where there is no such program.
    """
    names = "stdin", "stdout", "stderr"
    files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in names]  # pipes would need readers
    try:
        os.pwrite(files[0], given, 0)
        try:
            process = subprocess.Popen(
                arguments,
                env=ENVIRONMENT,
                stdin=files[0],
                stdout=files[1],
                stderr=files[2],
                pass_fds=descriptors,
                start_new_session=True,
            )
        except OSError as error:
            raise FatalError(f"cannot run {os.fsdecode(arguments[0])}: {error.strerror}", "Install it.") from None
        with process:
            _wait_for(process, stop)
        _, output, errors = (os.pread(fd, os.fstat(fd).st_size, 0) for fd in files)
        return Answer(process.returncode, output, errors)
    finally:
        for fd in files:
            os.close(fd)


def _wait_for(process: subprocess.Popen[bytes], stop: Callable[[], bool] | None) -> None:
    """Wait for a program. Raises Stopped if it was ended, as stop said so; then it has ended."""
    try:
        while stop is not None:
            try:
                process.wait(_ASK)
                return
            except subprocess.TimeoutExpired:
                if stop():
                    raise Stopped from None
        process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def output_of(program: str, *arguments: str) -> str | None:
    """Return a program's stdout; None where there is no such program, it fails, or takes longer than ten seconds.

    It inherits this process's environment, which names the batch system to ask.
    """
    try:
        done = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def version_of(program: str, option: str = "--version") -> str | None:
    """Return the first line that a program prints about its version; None where there is no such program."""
    try:
        done = subprocess.run(
            [program, option], env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
    return lines[0].strip() if lines else ""
