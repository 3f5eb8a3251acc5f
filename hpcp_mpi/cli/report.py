"""The report of a run for its user: changes, failures by kind, how it ended. `end_table` has the table."""

import errno
import os
import time
from collections.abc import Iterable

from hpcp_mpi import __version__
from hpcp_mpi.cli.amounts import duration
from hpcp_mpi.cli.commands import words
from hpcp_mpi.cli.end_table import differing, number, ranks_in_words
from hpcp_mpi.engine.sorted_items import SortedItems
from hpcp_mpi.operations.compare.differences import GROUPS, Differences
from hpcp_mpi.vocab.abilities import ENDLESS_NS, SECOND_NS, Acls, StoredTimes
from hpcp_mpi.vocab.amounts import size
from hpcp_mpi.vocab.errors import EXIT_CODES, EXIT_DIFFERENT, EXIT_OK, EXIT_VANISHED, Failure
from hpcp_mpi.vocab.paths import first_few, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb

_IN_FULL = 5  # of each kind
_LISTS_ALL = " (--json lists all)"
FULL = frozenset(map(os.strerror, (errno.ENOSPC, errno.EDQUOT)))  # kinds of failures of a destination, not of entries
_TITLES = {
    "added": "Added (in the source, not in the {})",
    "modified": "Modified",
    "deleted": "Deleted (in the {}, not in the source)",
}


def lines_of(items: SortedItems | Differences) -> Iterable[str]:
    """Yield the lines of a run's changes, or of a compare's differences."""
    return difference_lines(items) if isinstance(items, Differences) else item_lines(items)


def difference_lines(differences: Differences) -> Iterable[str]:
    """Yield the lines of a compare's three groups, as far as it came."""
    for op, name in GROUPS.items():
        if name not in differences.counts:
            return
        yield f"{_TITLES[name].format(differences.against)}: {differences.counts[name]}"
        for change, path, _ in differences.of(op):
            yield f"{change} {printable(path)}" if name == "modified" else printable(path)


def item_lines(items: Iterable[tuple[str, bytes, bytes]]) -> Iterable[str]:
    """Yield a line for each change, as rsync -i prints it. items: (change, path, link target)."""
    for change, path, target in items:
        arrow = " => " if change.startswith("h") else " -> "
        yield f"{change} {printable(path)}{arrow + printable(target) if target else ''}"


def ability_lines(report: Report) -> Iterable[str]:
    """Yield a line for each destination, with the abilities of its file system."""
    for path, found in report.abilities.items():
        has = {
            "ACLs (not listed)" if found.acls is Acls.HIDDEN else "ACLs": None
            if found.acls is None
            else found.acls is not Acls.NONE,
            "user attributes": found.user_attributes,
            "trusted attributes": found.trusted_attributes,
            "capabilities": found.capabilities,
            "holes": found.holes,
            "nameless files": found.nameless,
            "locks": found.locks,
            "upper and lower case": found.case,
        }
        words = [
            f"{printable(path)} is on {found.kind or 'an unknown file system'}{'' if found.tried else ' (not tried)'}"
        ]
        for word, wanted in (("with", True), ("without", False)):
            names = [name for name, there in has.items() if there is wanted]
            words += [f"{word} {', '.join(names)}"] if names else []
        yield f"destination: {'; '.join(words)}; {_times_in_words(found.times)}"


def _times_in_words(times: StoredTimes) -> str:
    step = f"{times.step_ns // SECOND_NS} s" if times.step_ns >= SECOND_NS else f"{times.step_ns:,} ns"
    if times.earliest_ns is None or times.latest_ns is None:
        return f"times in steps of {step}"
    if times.latest_ns >= ENDLESS_NS:
        return f"any times in steps of {step}"
    first, last = (
        time.strftime("%Y-%m-%d", time.gmtime(ns // SECOND_NS)) for ns in (times.earliest_ns, times.latest_ns)
    )
    return f"times in steps of {step} from {first} to {last}"


def problem_lines(report: Report, why: str = "") -> Iterable[str]:
    """Yield the lines of lost ranks, failures and notes, five of a kind in full and then counted, and what to do.

    why: why there is no file with all failures
    """
    for share in report.ranks:
        if share.lost:
            where = f" on {share.node}" if share.node else ", before it said where it is:"
            yield f"lost: rank {share.rank}{where} {share.lost}"
    full: list[Failure] = []
    others: list[Failure] = []
    for failure in report.failures:
        (full if kind_of(failure.reason) in FULL else others).append(failure)
    if full:
        from hpcp_mpi.cli.full_disk import full_lines

        yield from full_lines(report, full)
    named = "" if report.failed_file is not None else _LISTS_ALL
    yield from grouped("failed", ((failure.path, failure.reason) for failure in others), named)
    yield from grouped("note", report.outcome.notes, _LISTS_ALL)
    if report.failed_file is not None:
        count = len(report.failures)
        all_ = "what failed" if count == 1 else f"all {count:,} that failed"
        if report.failed_entries > count:
            all_ = "the one with a reason" if count == 1 else f"the {count:,} with a reason"
        yield f"{all_}: {printable(report.failed_file)}"
    elif why:
        yield f"the names of what failed were not written to a file: {why} (--failed FILE names another place)"
    if report.resume:
        yield f"to resume: {words(report.resume)}"
    elif report.retry:
        yield f"to do again what failed: {words(report.retry)}"


def kind_of(reason: str) -> str:
    """Return the kind of a failure: the end of its reason, as the beginning may name a directory."""
    return reason.rpartition(": ")[2]


def grouped(word: str, problems: Iterable[tuple[bytes, str]], more: str = _LISTS_ALL) -> Iterable[str]:
    """Yield lines for (path, reason) pairs, five of a kind, and then their number. more: where the others are"""
    kinds: dict[str, int] = {}
    first: dict[str, list[tuple[bytes, str]]] = {}
    for path, reason in problems:
        kind = kind_of(reason)
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] <= _IN_FULL:
            first.setdefault(kind, []).append((path, reason))
    for kind, members in first.items():
        for path, reason in members:
            yield f"{word}: {printable(path)}: {reason}"
        if kinds[kind] > _IN_FULL:
            yield f"{word}: … and {kinds[kind] - _IN_FULL:,} more: {kind}{more}"


def first_line(request: Request, processes: int) -> str:
    """Return the first line of the log: the request, and the ranks. processes: 1: rank 0 does the work, too"""
    if request.images is not None:
        from hpcp_mpi.cli.image_table import asked

        return f"hpcp-mpi {__version__}: {_doing(request)}{asked(request)}"
    names = first_few(request.sources, _IN_FULL, between=" ")
    if request.source_list is not None:
        names = f"what {_called(request.source_list, 'input')} lists{' in ' if names else ''}{names}"
    to = " with" if request.verb is Verb.COMPARE else " ->"
    if request.destinations:
        names += f"{to} {' '.join(map(printable, request.destinations))}"
    elif request.file_list is not None:
        names += f"{to} {_called(request.file_list, 'input' if request.verb is Verb.COMPARE else 'output')}"
    return f"hpcp-mpi {__version__}: {_doing(request)}{names}, {ranks_in_words(processes, request.verb.value)}"


def _called(file_list: bytes, stream: str) -> str:
    return f"standard {stream}" if file_list == b"-" else printable(file_list)


def _doing(request: Request) -> str:
    """Return the verb in words, with a blank after it; "" for a plain copy."""
    options = request.options
    doing = request.verb.value
    if request.verb is Verb.COPY:
        doing = " and ".join(word for word, given in (("mirror", options.mirror), ("move", options.move)) if given)
    rehearsal = "dry run: " if options.dry_run and request.verb is not Verb.COMPARE else ""
    return rehearsal + (f"{doing} " if doing else "")


def last_line(report: Report) -> str:
    """Return the last line of the log: how the run ended."""
    code = report.exit_code
    return f"hpcp-mpi: {_ending(report)}" + (f" (exit code {code})" if code else "")


def _ending(report: Report) -> str:
    failed, code = report.failed_entries if report.failures else 0, report.exit_code
    if failed and not report.stopped:
        entries = number(failed, "entry", "entries")
        vanished = f"vanished after {'it was' if failed == 1 else 'they were'} listed"
        return f"{entries} {vanished if code == EXIT_VANISHED else 'failed'}{_kept(report, failed)}"
    if report.unshown and not report.stopped:
        return report.unshown
    if code == EXIT_DIFFERENT and report.differences:
        return f"they differ: {differing(report.differences)}"
    if report.verb == Verb.COMPARE.value and code == EXIT_OK:
        return "no differences"
    if report.declined and code == EXIT_OK:
        return f"{'not everything' if report.outcome.removed else 'nothing'} was removed: not confirmed"
    if report.dry_run and code == EXIT_OK:
        return "dry run: nothing was changed"
    return f"done: {_done(report)} in {duration(report.seconds)}" if code == EXIT_OK else EXIT_CODES[code]


def _kept(report: Report, failed: int) -> str:
    """Return that the images of a run are there though entries failed; "" where none was written."""
    images = [] if report.dry_run else [image.path for image in report.images if image.what != "read"]
    if not images:
        return ""
    there = "is there" if len(images) == 1 else "are there"
    what = "it" if failed == 1 else "them"
    return f"; {first_few(images, _IN_FULL)} {there}, without {what} or with {what} in part"


def _done(report: Report) -> str:
    """Return the work of a run without failures, as "62,321 files, 3.80 GiB"."""
    outcome = report.outcome
    if report.verb == Verb.LIST.value:
        return f"{number(report.scanned.entries, 'entry', 'entries')} listed"
    done = []
    if outcome.copied.files:
        done.append(f"{number(outcome.copied.files, 'file')}, {size(outcome.copied.bytes)}")
    elif outcome.copied:
        done.append(f"{number(outcome.copied.entries, 'entry', 'entries')} copied")
    if outcome.updated:
        done.append(f"metadata of {number(outcome.updated.entries, 'entry', 'entries')}")
    if outcome.removed:
        done.append(f"{number(outcome.removed.entries, 'entry', 'entries')} removed")
    images = [f"{printable(image.path)} {image.what}" for image in report.images if image.what in ("made", "cloned")]
    if len(images) > _IN_FULL:
        images = [f"{len(images):,} images {report.images[-1].what}"]
    return ", ".join(images + done) or ("nothing removed" if report.verb == Verb.REMOVE.value else "nothing to copy")
