"""The end table: what was done, what was found and what became of it, the time, the ranks. Rows of zeros are left out.

In each column what was found is the sum of what became of it: copied, identical, failed, left.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hpcp_mpi.cli.amounts import duration
from hpcp_mpi.vocab.amounts import size
from hpcp_mpi.vocab.paths import in_one_line, printable
from hpcp_mpi.vocab.report import RankShare, Report
from hpcp_mpi.vocab.request import Verb
from hpcp_mpi.vocab.tally import Tally

_MOST_RANKS = 16  # that are shown
_RATED = 1.0  # seconds of a run that has an average rate
_TELLING = 10.0  # seconds of a run that tells which ranks had too little to do
_UNLIKE = 50  # percent of the time that some ranks were busy longer than others
# The verbs that copy trees.
COPYING = frozenset(verb.value for verb in (Verb.COPY, Verb.IMAGE, Verb.CLONE, Verb.PATCH, Verb.APPLY))
_COLUMNS = ("", "files", "directories", "links", "other", "bytes")


def table(report: Report, verbose: bool = False) -> str:
    """Return the end table of a report as text. verbose: with chunks, messages and every rank"""
    lines = [_summary(report)]
    if report.images or report.partitions:
        from hpcp_mpi.cli.image_table import image_lines

        lines += image_lines(report, in_columns)
    lines += counts(_rows(report))
    if report.differences is not None:
        lines.append(f"differences: {differing(report.differences) or 'none'}")
    lines += [line for line in (_counts(report), _times(report)) if line]
    lines += rank_lines(report, verbose)
    if verbose:
        lines.append(f"chunks: {report.chunks:,}   steals: {report.steals:,}   messages: {report.messages:,}")
    return "\n".join(map(in_one_line, lines))


def _summary(report: Report) -> str:
    """Return in a line what was done, and what was not."""
    parts = _done(report)
    if report.verb in COPYING and not parts and not report.images:
        parts.append("nothing copied" if report.undone else "nothing to copy")
    if report.failed:
        parts.append(f"{number(report.failed_entries, 'entry', 'entries')} failed")
    if report.left.entries:
        parts.append(f"{_entries(report.left)} left")
    does = [word for word, given in (("mirror", report.mirror), ("move", report.move)) if given] or [report.verb]
    rehearsal = "dry run: " if report.dry_run and report.verb != Verb.COMPARE.value else ""
    return f"{rehearsal}{' and '.join(does)}: {', '.join(parts) or _images(report)}"


def _done(report: Report) -> list[str]:
    """Return in words what a run did, or would do: "62,321 files copied (3.80 GiB)"."""
    outcome, verb, would = report.outcome, report.verb, report.dry_run
    if verb == Verb.LIST.value:
        return [f"{number(report.scanned.entries, 'entry', 'entries')} listed"]
    if verb == Verb.COMPARE.value:
        return [f"{number(report.found.entries, 'entry', 'entries')} compared"]
    words = []
    if outcome.copied:
        of = number(outcome.copied.files, "file") if outcome.copied.files else _entries(outcome.copied)
        room = f" ({size(outcome.copied.bytes)})" if outcome.copied.files else ""
        words.append(f"{of} {'to copy' if would else 'copied'}{room}")
    if outcome.updated:
        words.append(f"metadata of {_entries(outcome.updated)}{' to set' if would else ''}")
    if outcome.removed:
        words.append(f"{_entries(outcome.removed)} {'to remove' if would else 'removed'}")
    return words


def _images(report: Report) -> str:
    """Return what became of images, where that is all that there is to say."""
    to_be = "to be " if report.dry_run else ""
    if len(report.images) > 1:
        return f"{len(report.images):,} images {to_be}{report.images[-1].what}"
    return "".join(f"{printable(image.path)} {to_be}{image.what}" for image in report.images) or "nothing to do"


def _entries(tally: Tally) -> str:
    return number(tally.entries, "entry", "entries")


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
    needed. In each column the first one is the sum of all others but those that end it: removed and verified."""
    outcome, verb = report.outcome, report.verb
    copies, compares, removes = verb in COPYING, verb == Verb.COMPARE.value, verb == Verb.REMOVE.value
    would = "would " if report.dry_run else ""
    sized = copies or (compares and bool(report.found.bytes))
    yield "found", report.found, sized
    if report.before:
        yield "copied before", report.before, True
    if copies:
        yield "would copy" if would else "copied", outcome.copied, True
    if copies and outcome.updated:
        yield "metadata only", outcome.updated, True
    if compares and report.different:
        yield "different", report.different, sized
    if copies or compares:
        yield "identical", outcome.skipped, sized
    elif outcome.skipped:
        yield "kept", outcome.skipped, False
    if removes:
        yield "would remove" if would else "removed", outcome.removed, False
    for name, each in (("failed", report.failed), ("left", report.left)):
        if each:
            yield name, each, sized
    if not removes and outcome.removed:
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
    linked = outcome.linked if report.verb in COPYING else 0
    every = ((made, linked), ("failures", len(outcome.failures)), ("notes", len(outcome.notes)))
    return "   ".join(f"{what}: {count:,}" for what, count in every if count)


def _times(report: Report) -> str:
    seconds, outcome = report.seconds, report.outcome
    scan = f" (scan {duration(report.scan_seconds)}{_listed(report)})" if report.scan_seconds else ""
    time = f"time: {duration(seconds)}{scan}"
    if seconds < _RATED or (report.dry_run and report.verb != Verb.COMPARE.value):
        return time  # nothing was done, or no average means anything
    if report.verb in COPYING:
        if not outcome.copied.files:
            return time
        average = f"{size(outcome.copied.bytes / seconds)}/s, {outcome.copied.files / seconds:,.0f} files/s"
    else:
        entries = outcome.removed if report.verb == Verb.REMOVE.value else report.scanned
        average = f"{entries.entries / seconds:,.0f} entries/s"
    return f"{time}   average: {average}"


def _listed(report: Report) -> str:
    """Return since when others listed, too, where rank 0 did not alone."""
    if report.listed_by_all is None:
        return ""
    return f", shared out from {duration(report.listed_by_all)} on" if report.listed_by_all else ", shared out"


def ranks_in_words(processes: int, verb: str, imaging: bool = False) -> str:
    """Return how many ranks there are, and what they do: "4 ranks (1 coordinates, 3 copy)". imaging: one does it all"""
    if imaging:
        return number(processes, "rank") + (f" (1 works, {processes - 1:,} idle)" if processes > 1 else "")
    does = verb if verb in (Verb.REMOVE.value, Verb.LIST.value, Verb.COMPARE.value) else Verb.COPY.value
    if processes == 1:
        return f"1 rank (coordinates and {_third_person(does)})"
    return f"{processes:,} ranks (1 coordinates, {processes - 1:,} {does if processes > 2 else _third_person(does)})"


def _third_person(verb: str) -> str:
    return "copies" if verb == Verb.COPY.value else f"{verb}s"


def rank_lines(report: Report, verbose: bool) -> Iterator[str]:
    """Yield a line about the ranks together, and one for each where that tells something: some were lost, or idle."""
    shares = report.ranks
    if report.processes:
        nodes = len({share.node for share in shares if share.node})
        on = f", on {nodes:,} nodes" if nodes > 1 else ""
        yield ranks_in_words(report.processes, report.verb, bool(report.images or report.partitions)) + on
    if not (verbose or _unbalanced(report)):
        shares = [share for share in shares if share.lost]
    shown = shares
    if len(shares) > _MOST_RANKS:
        shown = sorted(shares, key=lambda each: -each.seconds)[:_MOST_RANKS]
    for share in shown:
        chunks = f", {number(share.chunks, 'chunk')} ({share.stolen:,} stolen), {number(share.slots, 'slot')}"
        yield (
            f"{_called(report, share)} on {share.node}: {_copied(report, share)}busy {_busy(report, share):.0f} %"
            f"{', lost' if share.lost else ''}{chunks if verbose else ''}"
        )
    if len(shares) > len(shown):
        yield f"… and {len(shares) - len(shown):,} more ranks, less busy than these (--json lists all)"


def _called(report: Report, share: RankShare) -> str:
    """Return what a rank is called: alone, the one process coordinates and works."""
    return f"rank {0 if report.processes == 1 and not share.lost else share.rank}"


def _busy(report: Report, share: RankShare) -> float:
    return min(100.0, 100 * share.seconds / max(report.seconds * share.slots, 1e-6))


def _unbalanced(report: Report) -> bool:
    """Return whether some ranks had far less to do than others, in a run that was long enough to tell."""
    if report.seconds < _TELLING or len(report.ranks) < 2:
        return False
    busy = [_busy(report, share) for share in report.ranks]
    return max(busy) - min(busy) > _UNLIKE


def _copied(report: Report, share: RankShare) -> str:
    if report.verb not in COPYING:
        return ""
    return f"{number(share.copied.files, 'file')}, {size(share.copied.bytes)}, "


def number(count: int, of: str, several: str = "") -> str:
    """Return a count with its noun. several: the plural, where it is not made with an s."""
    return f"{count:,} {of if count == 1 else several or of + 's'}"
