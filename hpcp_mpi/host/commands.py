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

_LOOK = 1.0  # seconds between two looks at a program that may be stuck
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


class Commands:
    """The running programs of this rank, which can be ended together."""

    def __init__(self, timeout: float = 0.0) -> None:
        """timeout: seconds that one program may take; 0: as long as it likes."""
        self._timeout = timeout
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self.expires = math.inf  # by time.monotonic(): from then on another rank may have this rank's work

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
            stuck = astray is not None and _ended_if_stuck(process, self._timeout, astray)
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

    def stop(self) -> None:
        """End every running program at once, and start none again."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()


def _ended_if_stuck(process: subprocess.Popen[bytes], timeout: float, astray: Callable[[], bool]) -> bool:
    """Wait for a program; return True if it was killed as it waits for something that is no disk, or is astray.

    timeout: seconds, after which the program is left to the caller; 0: none
    """
    began = time.monotonic()
    until = began + (timeout or math.inf)
    before, since, ask = b"", began, began + _STUCK
    with _ending_of(process) as ended:
        while not ended(min(_LOOK, until - time.monotonic())):
            now = time.monotonic()
            if now >= until:
                return False
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
def _ending_of(process: subprocess.Popen[bytes]) -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits some seconds for a program; it returns whether that has ended by then."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:  # before Linux 5.3: subprocess looks every 50 ms
        yield lambda seconds: _ends_within(process, seconds)
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        yield lambda seconds: bool(poll.poll(max(0, seconds) * 1000))
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
