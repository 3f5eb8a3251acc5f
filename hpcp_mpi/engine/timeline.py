"""How a run went in the course of time: a sample now and then, as many as fit, so that its length does not matter."""

import time

from hpcp_mpi.vocab.checkpoint import Sample
from hpcp_mpi.vocab.outcome import Outcome

_MOST = 512  # samples; then every second one is left out, and they are taken half as often
_FIRST_STEP = 0.1  # seconds between two samples


class Timeline:
    """Samples of one job."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._step = _FIRST_STEP
        self._began = time.monotonic()
        self._next = 0.0

    def look(self, outcome: Outcome, active: int, ranks: int) -> None:
        """Take a sample if it is time to. Called very often."""
        seconds = time.monotonic() - self._began
        if seconds < self._next:
            return
        self._next = seconds + self._step
        copied = outcome.copied
        self.samples.append(Sample(round(seconds, 3), copied.files, copied.bytes, active, ranks))
        if len(self.samples) > _MOST:
            self.samples = self.samples[::2]
            self._step *= 2
