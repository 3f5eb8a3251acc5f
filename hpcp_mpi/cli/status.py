"""The lines that --status prints about a ledger: plain ones, the same on a terminal and in a log."""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence

from hpcp_mpi.cli.amounts import duration
from hpcp_mpi.cli.commands import words
from hpcp_mpi.cli.end_table import counts, in_columns, number
from hpcp_mpi.cli.json_report import STANDARD_OUTPUT, report_at, write_json
from hpcp_mpi.cli.report import grouped
from hpcp_mpi.vocab.amounts import size
from hpcp_mpi.vocab.checkpoint import UNDER_WAY, Checkpoint, RankState, Sample
from hpcp_mpi.vocab.errors import EXIT_CODES, EXIT_OK
from hpcp_mpi.vocab.ledger_status import LedgerStatus, RunStatus
from hpcp_mpi.vocab.paths import in_one_line, printable
from hpcp_mpi.vocab.tally import NOTHING

_MOST_NODES = 32  # that are shown
_MOST_LOST = 20
_LATELY = 60.0  # seconds
_ALWAYS = ("found", "copied", "identical")  # also when they are zero
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:-=+*#@"


def show(path: bytes, json: str | None) -> int:
    """Print the state of the run in the ledger at path; return the exit code. Raises FatalError if it is unreadable."""
    output = report_at(json) if json is not None else None
    from hpcp_mpi.ledger.reader import read  # which loads SQLite

    account = read(path)
    try:
        if json is not None:  # first: the lines may be shown to nobody
            write_json(account, output)
    finally:
        if json != STANDARD_OUTPUT:  # which has nothing else
            blocks = (sys.stdout.encoding or "ascii").lower().replace("-", "") == "utf8"
            for line in lines(account, shutil.get_terminal_size().columns, _BLOCKS if blocks else _ASCII):
                print(in_one_line(line))  # others may have written the ledger
    return EXIT_OK


def lines(account: LedgerStatus, width: int, blocks: str = _BLOCKS) -> Iterator[str]:
    """Yield the lines to print. width: of the screen; blocks: nine characters, from nothing to full."""
    last, latest = account.last, account.latest
    to = f" -> {printable(account.destination)}" if account.destination else ""
    yield f"{account.verb}: {' '.join(map(printable, account.sources))}{to}"
    yield f"command: {words(last.command)}"
    yield f"on: {_place(last)}, hpcp-mpi {last.version}"
    yield f"state: {_state(account)}"
    if account.resume:
        yield f"to resume: {words(account.resume)}"
    if latest is None:
        yield "no checkpoint yet"
    else:
        yield from _done(account, latest)
        yield from _nodes(account, latest)
        yield from _timeline(account.samples, width, blocks)
        yield from grouped("failed", ((failure.path, failure.reason) for failure in latest.failures))
        yield from grouped("note", latest.notes)
    if len(account.runs) > 1:
        yield from _runs(account)


def _exit_code(run: RunStatus) -> str:
    code = run.exit_code
    return "exit code unknown" if code is None else f"exit code {code}: {EXIT_CODES.get(code, 'unknown')}"


def _state(account: LedgerStatus) -> str:
    last, condition = account.last, account.condition
    if condition in ("stopped", "ended"):
        return f"{condition}, {_exit_code(last)} ({_when(last.ended)})"
    if condition == "running":
        return f"running (last sign of life {account.silence:.0f} s ago)"
    seen = f"last sign of life {_when(last.alive)}"
    if condition == "broken":
        return f"broke down ({seen})"
    if condition == "killed":
        return f"killed: its process is gone ({seen})"
    silence = f"silent for {duration(account.silence)}"
    return f"{silence}, but its process is there" if account.there else f"{silence}, probably dead ({seen})"


def _place(run: RunStatus) -> str:
    return f"{run.host}, process {run.pid}" + (f", job {run.job}" if run.job else "")


def _when(seconds: float | None) -> str:
    return "?" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _done(account: LedgerStatus, latest: Checkpoint) -> Iterator[str]:
    scan = "scan complete" if latest.scan_done else "scan running"
    at = "" if account.condition == "ended" else f", checkpoint {duration(account.time - _at(account))} ago"
    yield f"phase: {latest.phase} ({scan}){at}"
    rows = list(account.amounts.items())
    rows.insert([name for name, _ in rows].index("left"), (UNDER_WAY, account.under_way))
    shown = ((name, tally) for name, tally in rows if tally or name in _ALWAYS)
    yield from counts((name.replace("_", " "), tally, True) for name, tally in shown)
    every = (("hard links made", latest.linked), ("failures", len(latest.failures)), ("notes", len(latest.notes)))
    if any(count for _, count in every):
        yield "   ".join(f"{what}: {count:,}" for what, count in every if count)
    runs = len(account.runs)
    copied, seconds = latest.tallies.get("copied", NOTHING), max(latest.seconds, 1e-6)
    copied = copied.plus(account.under_way)
    yield (
        f"time: {duration(latest.seconds)}{f' in {runs} runs' if runs > 1 else ''}   "
        f"average: {_rate(copied.bytes / seconds, copied.files / seconds)}{_lately(account)}"
    )
    yield f"chunks: {latest.chunks:,}   steals: {latest.steals:,}   messages: {latest.messages:,}"
    trees, alone = account.todo
    if trees or alone:
        yield (
            f"still to scan, as far as known: {number(trees, 'directory', 'directories')} with everything below, "
            f"{number(alone, 'directory', 'directories')} only"
        )


def _at(account: LedgerStatus) -> float:
    return account.time if account.checkpointed is None else min(account.checkpointed, account.time)


def _rate(bytes_: float, files: float) -> str:
    return f"{size(bytes_)}/s, {files:,.0f} files/s"


def _lately(account: LedgerStatus) -> str:
    """Return the rate of the last minute in words; "" unless the run is alive and older than that."""
    own = [sample for run, sample in account.samples if run == account.last.number]
    if account.condition != "running" or len(own) < 2 or own[-1].seconds - own[0].seconds < _LATELY:
        return ""
    now = own[-1]
    then = next(sample for sample in reversed(own) if now.seconds - sample.seconds >= _LATELY)
    took = now.seconds - then.seconds
    return f"   in the last {duration(took)}: {_rate((now.bytes - then.bytes) / took, (now.files - then.files) / took)}"


def _nodes(account: LedgerStatus, latest: Checkpoint) -> Iterator[str]:
    """Yield the table of the last run's nodes, and a line for each lost rank, of earlier runs too."""
    nodes: dict[str, list[RankState]] = {}
    for rank in latest.ranks if account.last.ranks else ():
        nodes.setdefault(rank.node, []).append(rank)
    shown_nodes = list(nodes.items())
    if len(nodes) > _MOST_NODES:
        shown_nodes.sort(key=lambda node: (-_lost(node[1]), -sum(rank.busy for rank in node[1])))
        del shown_nodes[_MOST_NODES:]
    seconds = latest.seconds - account.before
    if nodes:
        heads = ("node", "ranks", "lost", "slots", "chunks", "files", "bytes", "busy")
        yield from in_columns([heads, *(_node(name, ranks, seconds) for name, ranks in shown_nodes)])
    if len(nodes) > len(shown_nodes):
        yield f"… and {len(nodes) - len(shown_nodes)} more nodes, less busy than these (--json lists all ranks)"
    lost = [(run.number, rank) for run in account.runs for rank in run.ranks if rank.state == "lost"]
    for run, rank in lost[:_MOST_LOST]:
        when = f" in run {run}" if run != account.last.number else ""
        yield f"lost{when}: rank {rank.rank} on {rank.node}, after {number(rank.chunks, 'chunk')}"
    if len(lost) > _MOST_LOST:
        yield f"… and {len(lost) - _MOST_LOST} more ranks were lost (--json lists all)"


def _lost(ranks: Sequence[RankState]) -> int:
    return sum(rank.state == "lost" for rank in ranks)


def _node(name: str, ranks: Sequence[RankState], seconds: float) -> Sequence[str]:
    slots = sum(rank.slots for rank in ranks)
    busy = 100 * sum(rank.busy for rank in ranks) / max(slots * seconds, 1e-6)
    return (
        name,
        f"{len(ranks):,}",
        f"{_lost(ranks):,}",
        f"{slots:,}",
        f"{sum(rank.chunks for rank in ranks):,}",
        f"{sum(rank.files for rank in ranks):,}",
        size(sum(rank.bytes for rank in ranks)),
        f"{min(busy, 100):.0f} %",
    )


def _timeline(samples: Sequence[tuple[int, Sample]], width: int, blocks: str) -> Iterator[str]:
    """Yield a line of blocks that shows how many ranks had work over time."""
    most = max((sample.active for _, sample in samples), default=0)
    end = samples[-1][1].seconds if samples else 0.0
    if len(samples) < 2 or not most or end <= 0:
        return
    head = f"ranks with work, 0 to {duration(end)}, {most:,} at most: "
    length = min(max(width - len(head) - 1, 10), 100, len(samples) * 4)
    sums, known = [0.0] * length, [0] * length
    for _, sample in samples:
        at = min(int(sample.seconds / end * length), length - 1)
        sums[at] += sample.active
        known[at] += 1
    line, level = "", 0.0
    for total, count in zip(sums, known, strict=True):
        level = total / count if count else level
        line += blocks[-(-int(level * 8) // most)] if level else blocks[0]
    yield f"{head}{line.rstrip()}"


def _runs(account: LedgerStatus) -> Iterator[str]:
    """Yield a line for each run but the last."""
    ends = dict.fromkeys((run.number for run in account.runs), 0.0)
    for run_number, sample in account.samples:
        ends[run_number] = sample.seconds
    before = 0.0
    for run in account.runs[:-1]:
        took = max(0.0, ends[run.number] - before)
        before = max(before, ends[run.number])
        if run.state == "ended":
            how = _exit_code(run)
        else:
            how = "broke down" if run.state == "broken" else f"killed or lost, last sign of life {_when(run.alive)}"
        yield f"run {run.number}: {_when(run.started)}, {_place(run)}, {duration(took)}, {how}"
