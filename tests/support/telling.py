"""The command, whose ranks say what they wait for when they get SIGUSR2: `telling.py ARGUMENTS`.

For runs that do not end: tracebacks show that rank 0 waits for others, not what for.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any

from hpcp_mpi.cli.main import main
from hpcp_mpi.cluster.coordinator_loop import CoordinatorLoop
from hpcp_mpi.cluster.worker_loop import Follower
from hpcp_mpi.engine.coordinator import Coordinator
from hpcp_mpi.operations.copy.big_files.rank0 import WithRanges
from hpcp_mpi.operations.scan.rank0 import Scan
from hpcp_mpi.scheduling.planner import Planner

_HELD = (CoordinatorLoop, Follower, Coordinator, WithRanges, Scan, Planner)
_DEEP = 3  # levels of objects in objects that are shown


def _shown(value: Any, depth: int = _DEEP) -> str:
    """What is in an object, each of its parts in a few hundred letters."""
    parts = getattr(value, "__dict__", None)
    if parts is None or depth == 0 or not type(value).__module__.startswith("hpcp_mpi."):
        return f"{value!r:.300}"
    inside = (f"{name}={_shown(part, depth - 1)}" for name, part in sorted(parts.items()))
    return f"{type(value).__name__}({', '.join(inside)})"


def _tell(number: int, frame: object) -> None:
    for each in gc.get_objects():
        if isinstance(each, _HELD) or type(each).__name__ == "MpiWire":  # whose module not every process may load
            os.write(2, f"STATE of {os.getpid()}: {_shown(each)}\n".encode(errors="backslashreplace"))


def tell_when_asked() -> None:
    """Have this process tell on SIGUSR2."""
    signal.signal(signal.SIGUSR2, _tell)


if __name__ == "__main__":
    tell_when_asked()
    sys.exit(main(sys.argv[1:], os.environ))
