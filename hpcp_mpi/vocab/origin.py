"""The origin of a report: which command made it, where, for whom."""

import os
from dataclasses import dataclass
from typing import Any

from hpcp_mpi.vocab.paths import in_one_line, printable

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
            "version": in_one_line(self.version) or None,
            "command": [printable(os.fsencode(word)) for word in self.command] or None,
            "host": in_one_line(self.host) or None,
            "user": in_one_line(self.user) or None,
            "job": in_one_line(self.job) or None,
        }
