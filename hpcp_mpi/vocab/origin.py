"""The origin of a report: which command made it, where, when, for whom."""

import os
from dataclasses import dataclass
from typing import Any

from hpcp_mpi.vocab.paths import printable

TOOL = "hpcp-mpi"
SCHEMA_VERSION = 1  # of reports and of --status; raised when a key is renamed, removed, or gets another meaning


@dataclass(frozen=True, slots=True)
class Origin:
    """Which command made a report, where, for whom. Empty: not known, as in the Python API."""

    version: str = ""
    command: tuple[str, ...] = ()  # as it was called
    host: str = ""
    user: str = ""
    job: str = ""  # the batch system's number of it

    def as_dict(self, kind: str) -> dict[str, Any]:
        """Return the head of a report as JSON can hold it. kind: "report" or "status" """
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": kind,
            "tool": TOOL,
            "version": self.version or None,
            "command": [printable(os.fsencode(word)) for word in self.command] or None,
            "host": self.host or None,
            "user": self.user or None,
            "job": self.job or None,
        }


def iso(seconds: float | None) -> str | None:
    """Return seconds since 1970 as `2026-01-31T08:15:30.123Z`; None for none, or for what no calendar has."""
    if seconds is None:
        return None
    from datetime import datetime, timezone  # for reports of programs, which not every run writes

    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None  # a ledger may say anything
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
