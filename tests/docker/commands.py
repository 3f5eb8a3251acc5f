"""Run a command to its end, a few times if it has to ask the network, and say all it said when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

Argument = str | os.PathLike[str]


def run(
    words: Sequence[Argument],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    cwd: Argument | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it; stdout and stderr are apart. After timeout seconds it and its children are ended: exit code 124."""
    words = [os.fspath(word) for word in words]
    # Files, not pipes: a pipe stays open as long as any process that was left behind.
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        process = subprocess.Popen(
            words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            err.write(f"\nnot ended after {timeout:.0f} s")
            code = 124
        finally:
            _end(process)
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and its children, unless it has ended by itself. It is given time to clean up."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def insist(
    words: Sequence[Argument],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    cwd: Argument | None = None,
    attempts: int = 1,
) -> str:
    """Run it until it succeeds, at most so many times; what it printed. Fails with what was said every time."""
    said = []
    for attempt in range(1, attempts + 1):
        done = run(words, env=env, timeout=timeout, cwd=cwd)
        if done.returncode == 0:
            return done.stdout
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-60:])
        said.append(f"attempt {attempt} of {attempts}, exit code {done.returncode}:\n{tail}")
    raise AssertionError(" ".join(map(os.fspath, words)) + "\n" + "\n".join(said))
