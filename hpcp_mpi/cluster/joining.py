"""The meeting of all ranks at the start of a collective call: who does not come is named, and nobody waits for ever.

The command line needs none, as every rank runs it. A program may call on some ranks only, by mistake: a blocking
collective would hang there without a word. So the ranks meet in collectives that are polled, twice: the first one may
be completed by a rank that comes when others have given up, the second only by ranks that are there.

Who is missing can be asked only of those that came, so messages are sent when that is certain, and not before: another
program's wildcard receive could take them.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from hpcp_mpi.vocab.errors import FatalError

_PAUSE = 0.002  # seconds between two polls; the first ones are shorter
_SHORT = 0.0001
_AGAIN = 10.0  # seconds for the second meeting, at least
_LATE = 5.0  # seconds at most that rank 0 waits for the word of ranks that came somewhat later
_ANSWER = 3.0  # seconds more for rank 0's answer
_GAVE_UP, _MISSING = 20871, 20872  # tags
_WORD = 32  # bytes of what is called


class Meeting(NamedTuple):
    """What ranks meet for."""

    called: str  # the function
    patience: float  # seconds
    stopped: Callable[[], bool]  # returns whether not to wait any longer


_out_of_step: list[str] = []  # why this process can meet no more; requests that are under way
_abandoned: list[Any] = []


def out_of_step(why: str) -> None:
    """Have every later meeting of this process refused."""
    _out_of_step.append(why)


def meet(comm: Any, meeting: Meeting) -> None:
    """Wait for all ranks of comm (a communicator of mpi4py). Raises FatalError on each that came if not all do.

    Raises KeyboardInterrupt if that is what it was told to stop by.
    """
    if _out_of_step:
        raise FatalError(
            f"{meeting.called}() cannot be called any more: {_out_of_step[0]}", "End this program and start it again."
        )
    began = time.monotonic()
    _round(comm, meeting, began + meeting.patience)
    calls = _round(comm, meeting, max(began + meeting.patience, time.monotonic() + _AGAIN))
    if len(set(calls)) > 1:
        others = [
            f"{call}() by {_ranks([rank for rank, each in enumerate(calls) if each == call])}"
            for call in dict.fromkeys(calls)
        ]
        raise FatalError(
            f"the ranks do not call the same: {', '.join(others)}",
            "These functions are collective: every rank of COMM_WORLD calls the same ones in the same order.",
        )


def _round(comm: Any, meeting: Meeting, deadline: float) -> list[str]:
    """Meet once; return what each rank calls."""
    mine = meeting.called.encode().ljust(_WORD)[:_WORD]
    everyones = bytearray(_WORD * comm.Get_size())
    request = comm.Iallgather(mine, everyones)
    pause = _SHORT
    while not request.Test():
        given_up = comm.Get_rank() == 0 and comm.Iprobe(tag=_GAVE_UP)
        if meeting.stopped() or given_up or time.monotonic() > deadline:
            _abandoned.append((request, mine, everyones))  # MPI may still use their memory
            out_of_step(f"not all ranks came when it called {meeting.called}()")
            if meeting.stopped():
                raise KeyboardInterrupt
            raise _who_is_missing(comm, meeting)
        time.sleep(pause)
        pause = min(2 * pause, _PAUSE)
    return [bytes(everyones[at : at + _WORD]).decode().strip() for at in range(0, len(everyones), _WORD)]


def _who_is_missing(comm: Any, meeting: Meeting) -> FatalError:
    late = min(_LATE, meeting.patience)
    missing = _asked_by_rank_0(comm, late) if comm.Get_rank() == 0 else _answered(comm, late + _ANSWER, meeting.stopped)
    who = _ranks(missing) if missing is not None else "rank 0, and perhaps others,"
    return FatalError(
        f"{who} did not call {meeting.called}() within {meeting.patience:g} s",
        "It is collective: every rank of COMM_WORLD has to call it. Ranks that need more time: join_timeout=SECONDS.",
    )


def _asked_by_rank_0(comm: Any, seconds: float) -> list[int]:
    """Return the ranks that did not say that they gave up, and tell those that did."""
    came, deadline = {0}, time.monotonic() + seconds
    while time.monotonic() < deadline and len(came) < comm.Get_size() - 1:
        if comm.Iprobe(tag=_GAVE_UP):
            came.add(comm.recv(tag=_GAVE_UP))
        else:
            time.sleep(_PAUSE)
    missing = [rank for rank in range(comm.Get_size()) if rank not in came]
    _abandoned.extend(comm.isend(missing, rank, _MISSING) for rank in came - {0})
    return missing


def _answered(comm: Any, seconds: float, stopped: Callable[[], bool]) -> list[int] | None:
    """Return the missing ranks as rank 0 knows them; None if it does not answer."""
    _abandoned.append(comm.isend(comm.Get_rank(), 0, _GAVE_UP))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not stopped():
        if comm.Iprobe(0, _MISSING):
            missing: list[int] = comm.recv(source=0, tag=_MISSING)
            return missing
        time.sleep(_PAUSE)
    return None


def _ranks(ranks: list[int]) -> str:
    """Return ranks in words: `rank 3`, `ranks 1, 2 and 5 more`."""
    more = f" and {len(ranks) - 20:,} more" if len(ranks) > 20 else ""
    return ("ranks " if len(ranks) > 1 else "rank ") + ", ".join(map(str, ranks[:20])) + more
