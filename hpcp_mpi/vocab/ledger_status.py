"""The status of the runs in a ledger, for people and machines."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hpcp_mpi.vocab.checkpoint import AGAIN, Checkpoint, RankState, Sample
from hpcp_mpi.vocab.errors import EXIT_RESUMABLE
from hpcp_mpi.vocab.paths import printable

SILENT = 60.0  # seconds without a sign of life, after which a run may be dead; it gives one every 20


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One of the runs that wrote the ledger."""

    number: int  # from 1
    host: str
    pid: int
    job: str
    version: str
    command: tuple[str, ...]
    started: float  # seconds since 1970-01-01 UTC, as all times here
    alive: float  # its last sign of life
    ended: float | None
    state: str  # running, ended, broken: as it said itself
    exit_code: int | None
    ranks: tuple[RankState, ...]  # at its last checkpoint


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """All that is shown of a ledger."""

    path: bytes
    time: float  # when it was read
    verb: str
    sources: tuple[bytes, ...]
    destination: bytes
    started: float  # when the first run began
    runs: tuple[RunStatus, ...]  # one at least
    there: bool | None  # whether the last run's process was found; None where it cannot be seen from here
    checkpointed: float | None  # when the last checkpoint was made
    latest: Checkpoint | None  # with all failures and notes, without todo and records
    todo: tuple[int, int]  # directories to look at again: with all below, alone
    records: Mapping[str, tuple[int, int]]  # blocks and stored bytes, by what they are of
    samples: tuple[tuple[int, Sample], ...]  # (number of the run, sample), in order

    @property
    def last(self) -> RunStatus:
        return self.runs[-1]

    @property
    def condition(self) -> str:
        """Return the last run's state in a word: running, silent, gone (killed), broken, stopped (resumable), ended."""
        last = self.last
        if last.state == "ended":
            return "stopped" if last.exit_code == EXIT_RESUMABLE else "ended"
        if last.state != "running":
            return "broken"
        if self.there is False:
            return "gone"
        return "silent" if self.silence > SILENT else "running"

    @property
    def silence(self) -> float:
        """Return seconds since the last sign of life."""
        return max(0.0, self.time - self.last.alive)

    @property
    def before(self) -> float:
        """Return seconds that the runs before the last one took."""
        return max((sample.seconds for run, sample in self.samples if run < self.last.number), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the account as JSON can hold it. Names are escaped as in file lists."""
        return {
            "ledger": printable(self.path),
            "time": self.time,
            "condition": self.condition,
            "silent_seconds": round(self.silence, 3),
            "verb": self.verb,
            "sources": [printable(path) for path in self.sources],
            "destination": printable(self.destination),
            "started": self.started,
            "checkpointed": self.checkpointed,
            **_latest(self.latest),
            "todo": {"trees": self.todo[0], "directories": self.todo[1]},
            "records": {kind: {"blocks": count, "bytes": size} for kind, (count, size) in self.records.items()},
            "samples": [{"run": run, **sample._asdict()} for run, sample in self.samples],
            "runs": [
                {
                    **{name: value for name, value in asdict(run).items() if name != "number"},
                    "run": run.number,
                    "command": [printable(os.fsencode(word)) for word in run.command],
                }
                for run in self.runs
            ],
        }


def _latest(latest: Checkpoint | None) -> dict[str, Any]:
    if latest is None:
        return {"phase": None}
    return {
        "phase": latest.phase,
        "seconds": round(latest.seconds, 3),
        "scan_done": latest.scan_done,
        "tallies": {name: tally._asdict() for name, tally in latest.tallies.items() if name != AGAIN},
        "left": latest.left._asdict(),
        "hard_links": latest.linked,
        "chunks": latest.chunks,
        "steals": latest.steals,
        "messages": latest.messages,
        "failed": len(latest.failures),
        "failures": [{"path": printable(f.path), "reason": f.reason, "vanished": f.vanished} for f in latest.failures],
        "notes": [{"path": printable(path), "note": note} for path, note in latest.notes],
    }
