"""Running other programs; the only user of subprocess.

A program is started without `preexec_fn`, so that Python uses vfork: MPI libraries do not survive a fork.
"""

import math
import os
import signal
import subprocess
import threading
import time

_DYING = 10.0  # seconds for a program to end after SIGKILL: one that waits for a server inside the kernel does not
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}


class Stopped(Exception):
    """The run is ending, so no program is started."""


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

    def run(self, arguments: list[bytes], directory: bytes, descriptors: tuple[int, ...] = ()) -> tuple[int, bytes]:
        """Run a program in a directory; return its exit code (negative: the signal that ended it) and its stderr.

        One that takes too long is killed, and the last line of its stderr is ours. Raises Stopped after stop().

        descriptors: open files that the program inherits under their numbers.
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
            try:
                code = process.wait(self._timeout or None)
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
