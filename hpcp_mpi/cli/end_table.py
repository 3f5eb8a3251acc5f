"""The end table: what was found, what was done with it, the time, and each rank's share. Rows of zeros are left out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hpcp_mpi.cli.amounts import duration, size
from hpcp_mpi.vocab.paths import in_one_line
from hpcp_mpi.vocab.report import RankShare, Report
from hpcp_mpi.vocab.request import Verb
from hpcp_mpi.vocab.tally import Tally

_MOST_RANKS = 16  # that are shown
# The verbs that copy trees.
COPYING = frozenset(verb.value for verb in (Verb.COPY, Verb.IMAGE, Verb.CLONE, Verb.PATCH, Verb.APPLY))
_COLUMNS = ("", "files", "directories", "links", "other", "bytes")


def table(report: Report) -> str:
    """Return the end table of a report as text."""
    lines = counts(_rows(report))
    if report.images or report.partitions:
        from hpcp_mpi.cli.image_table import image_lines

        lines = [*image_lines(report, in_columns), *lines]
    if report.differences is not None:
        lines.append(f"differences: {differing(report.differences) or 'none'}")
    lines += [_counts(report), _times(report)]
    lines.append(f"chunks: {report.chunks:,}   steals: {report.steals:,}   messages: {report.messages:,}")
    lines += _ranks(report)
    return "\n".join(map(in_one_line, lines))


def counts(tallies: Iterable[tuple[str, Tally, bool]]) -> list[str]:
    """Return lines of counts for (name, tally, whether bytes are counted)."""
    rows = [_COLUMNS, *((name, *_cells(tally, sized)) for name, tally, sized in tallies)]
    columns = len(_COLUMNS) if any(row[-1] for row in rows[1:]) else len(_COLUMNS) - 1
    return in_columns([row[:columns] for row in rows])


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row. All but the first column are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(_aligned, row, widths, range(len(row)))).rstrip() for row in rows]


def differing(differences: Mapping[str, int]) -> str:
    """Return the numbers of differing entries, by kind, in words; "" if there are none."""
    return ", ".join(f"{count:,} {how}" for how, count in differences.items() if count)


def _rows(report: Report) -> Iterator[tuple[str, Tally, bool]]:
    """Yield (name, tally, whether bytes are counted) for the table's rows: bytes are not, where no file's size was
    needed."""
    outcome, verb = report.outcome, report.verb
    would = "would " if report.dry_run else ""
    copies, compares = verb in COPYING, verb == Verb.COMPARE.value
    yield "found", report.scanned, copies
    if report.before:
        yield "copied before", report.before, True
    if copies:
        yield "would copy" if would else "copied", outcome.copied, True
    if copies and outcome.updated:
        yield "metadata only", outcome.updated, True
    if copies or compares:
        yield "identical", outcome.skipped, copies
    elif outcome.skipped:
        yield "kept", outcome.skipped, False
    if copies and report.left:
        yield "left", report.left, True
    if verb == Verb.REMOVE.value or outcome.removed:
        yield "would remove" if would else "removed", outcome.removed, False
    if outcome.verified:
        yield "verified", outcome.verified, True


def _aligned(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def _cells(tally: Tally, sized: bool) -> tuple[str, ...]:
    return (
        f"{tally.files:,}",
        f"{tally.directories:,}",
        f"{tally.links:,}",
        f"{tally.specials:,}",
        size(max(0, tally.bytes)) if sized or tally.bytes else "",
    )


def _counts(report: Report) -> str:
    outcome = report.outcome
    made = "would make hard links" if report.dry_run else "hard links made"
    linked = f"{made}: {outcome.linked:,}   " if outcome.linked and report.verb in COPYING else ""
    return f"{linked}failed: {len(outcome.failures):,}   notes: {len(outcome.notes):,}"


def _times(report: Report) -> str:
    seconds, outcome = max(report.seconds, 1e-6), report.outcome
    scan = f" (scan {duration(report.scan_seconds)})" if report.scan_seconds else ""
    if report.dry_run and report.verb != Verb.COMPARE.value:
        return f"time: {duration(report.seconds)}{scan}"  # nothing was done, so there is no rate
    if report.verb in COPYING:
        rate = f"{size(outcome.copied.bytes / seconds)}/s, {outcome.copied.files / seconds:,.0f} files/s"
    else:
        done = outcome.removed if report.verb == Verb.REMOVE.value else report.scanned
        rate = f"{done.entries / seconds:,.0f} entries/s"
    return f"time: {duration(report.seconds)}{scan}   rate: {rate}"


def _ranks(report: Report) -> Iterable[str]:
    shares = report.ranks
    if len(shares) > _MOST_RANKS:
        shares = sorted(shares, key=lambda each: -each.seconds)[:_MOST_RANKS]
    for share in shares:
        busy = 100 * share.seconds / max(report.seconds * share.slots, 1e-6)
        yield (
            f"rank {share.rank} on {share.node}: {_done(report, share)}"
            f"{number(share.chunks, 'chunk')} ({share.stolen:,} stolen), {number(share.slots, 'slot')}, "
            f"busy {min(busy, 100):.0f} %{', lost' if share.lost else ''}"
        )
    if len(report.ranks) > len(shares):
        yield f"… and {len(report.ranks) - len(shares)} more ranks, less busy than these (--json lists all)"


def _done(report: Report, share: RankShare) -> str:
    if report.verb not in COPYING:
        return ""
    return f"{number(share.copied.files, 'file')}, {size(share.copied.bytes)}, "


def number(count: int, of: str, several: str = "") -> str:
    """Return a count with its noun. several: the plural, where it is not made with an s."""
    return f"{count:,} {of if count == 1 else several or of + 's'}"
