"""The command, with a ledger that is written twenty times a second: `tool.py ARGUMENTS`.

Rank 0 appends a word to the file that CHAOS_MARKS names for each phase that begins and each checkpoint, so that others
know when to strike.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from hpcp_mpi.cli.main import main
from hpcp_mpi.engine import checkpoints as checkpoints
from hpcp_mpi.engine.coordinator import Coordinator
from tests.support.telling import tell_when_asked

checkpoints.EVERY = checkpoints._FIRST = 0.05


def _marking(method: Any, word: Any) -> Any:
    marks = os.open(os.environ["CHAOS_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def marked(self: Any, *args: Any) -> Any:
        os.write(marks, word(*args) + b"\n")
        return method(self, *args)

    return marked


Coordinator.drive = _marking(Coordinator.drive, lambda phase, feed: phase.encode())  # type: ignore[method-assign]
checkpoints.CheckpointWriter.write = _marking(checkpoints.CheckpointWriter.write, lambda *_: b"checkpoint")  # type: ignore[method-assign]

tell_when_asked()
sys.exit(main(sys.argv[1:], os.environ, forks=True))
