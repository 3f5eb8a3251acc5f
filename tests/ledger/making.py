"""Checkpoints and changed ledgers for tests."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcp_mpi.vocab.checkpoint import Checkpoint, RankState, Relist, RunHeading, Sample
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.tally import Tally, one_file


def heading(**other: Any) -> RunHeading:
    values: dict[str, Any] = {
        "verb": "copy",
        "sources": (b"/data/a\xff", b"/data/b\nb"),
        "destination": b"/backup",
        "command": ("hpcp-mpi", "/data/a\udcff", "/data/b\nb", "-d", "/backup"),
        "fingerprint": "f",
        "version": "0.1.0",
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "job": "4711",
        "started": time.time(),
    }
    return RunHeading(**{**values, **other})


def checkpoint(number: int = 0, **other: Any) -> Checkpoint:
    """A checkpoint in which every value depends on its number."""
    values: dict[str, Any] = {
        "phase": f"phase {number}",
        "seconds": number + 0.5,
        "tallies": {"found": Tally(number + 1, 2, 3, 4, 5), "copied": Tally(number, 0, 0, 0, number * 1000)},
        "linked": number,
        "scan_done": number % 2 == 1,
        "chunks": number * 2,
        "steals": number,
        "messages": number * 3,
        "ranks": tuple(
            RankState(rank, f"n{rank // 2}", 4, "working", number, number * 10, 1, 2, 3, 0.25) for rank in (1, 2, 3)
        ),
        "todo": tuple(Relist(0, b"d%d\xfe" % (number + each), b"t/d%d" % each, True, b"x\0") for each in range(4)),
        "sample": Sample(number + 0.5, number, number * 1000, 2, 3),
        "state": b"state %d" % number,
        "records": {"settled": b"%d," % number * 200, "links": b"%d;" % number},
        "failures": (Failure(b"/data/a\xff/%d" % number, "Permission denied \udcff", False, one_file(number)),),
        "notes": ((b"/data/s%d" % number, "a socket"),),
    }
    return Checkpoint(**{**values, **other})


def rows(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def change(path: Path, statement: str) -> None:
    """Change a ledger from another connection."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def end_process(path: Path) -> None:
    """Make the process of a ledger's last run a dead one."""
    change(path, "UPDATE run SET pid_started=1 WHERE run=(SELECT max(run) FROM run)")


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
