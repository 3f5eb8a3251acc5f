"""hpcp from PyPI, in an environment of its own: it is only run, never imported.

.venv-hpcp in the repository is made when it is first needed; HPCP_MPI_BENCH_HPCP names another one.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from tests.support.launch import REPOSITORY


def place() -> Path:
    return Path(os.environ.get("HPCP_MPI_BENCH_HPCP", REPOSITORY / ".venv-hpcp"))


def program() -> Path:
    return place() / "bin/hpcp"


@functools.cache
def missing() -> str | None:
    """Why hpcp cannot be run; None if it can. Installs it if need be, once per session."""
    if program().exists():
        return None
    venv = place()
    print(f"bench: installing hpcp into {venv}", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", str(venv)],
        [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "hpcp"],
    ):
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            return _how_to_get_it(str(error))
        if done.returncode:
            return _how_to_get_it((done.stderr.strip() or done.stdout.strip() or "failed").splitlines()[-1])
    return None if program().exists() else _how_to_get_it(f"pip made no {program()}")


def _how_to_get_it(why: str) -> str:
    return f"hpcp could not be installed ({why}): python3 -m venv {place()} && {place()}/bin/pip install hpcp"
