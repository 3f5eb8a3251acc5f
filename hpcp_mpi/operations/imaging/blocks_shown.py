"""Progress while blocks of a partition are copied or compared: rank 0 does it alone, without a coordinator."""

import time
from collections.abc import Callable

from hpcp_mpi.engine.frontend import ProgressWatcher
from hpcp_mpi.engine.progress_meter import Counted, ProgressMeter
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import Tally


def showing_blocks(watcher: ProgressWatcher, phase: str, size: int) -> Callable[[int], None]:
    """Return what is to be called with the bytes that were done since, of size."""
    began, meter, done = time.monotonic(), ProgressMeter(), 0

    def moved(count: int) -> None:
        nonlocal done
        done += count
        if watcher.due():
            outcome = Outcome(copied=Tally(bytes=done))
            seconds = time.monotonic() - began
            watcher.show(meter.read(Counted(phase, Tally(bytes=size), True, outcome, 1, 1, seconds)))

    return moved
