"""The report of a run for its user: changes, failures by kind, how it ended, and JSON. `end_table` has the table."""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from hpcp_mpi import __version__
from hpcp_mpi.cli.amounts import duration, size
from hpcp_mpi.cli.end_table import differing, number
from hpcp_mpi.engine.sorted_items import SortedItems
from hpcp_mpi.host.output_file import Output, output_at
from hpcp_mpi.operations.compare.differences import GROUPS, Differences
from hpcp_mpi.vocab.abilities import ENDLESS_NS, SECOND_NS, Acls, StoredTimes
from hpcp_mpi.vocab.errors import EXIT_CODES, EXIT_DIFFERENT, EXIT_OK, EXIT_VANISHED, FatalError, reason_of
from hpcp_mpi.vocab.ledger_status import LedgerStatus
from hpcp_mpi.vocab.paths import first_few, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb

_IN_FULL = 5  # of each kind
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


def problem_lines(report: Report) -> Iterable[str]:
    """Yield the lines of lost ranks, failures and notes, five of a kind in full and then counted."""
    for share in report.ranks:
        if share.lost:
            where = f" on {share.node}" if share.node else ", before it said where it is:"
            yield f"lost: rank {share.rank}{where} {share.lost}"
    yield from grouped("failed", ((failure.path, failure.reason) for failure in report.failures))
    yield from grouped("note", report.outcome.notes)


def grouped(word: str, problems: Iterable[tuple[bytes, str]]) -> Iterable[str]:
    """Yield lines for (path, reason) pairs, by kind: the end of a reason, as its beginning may name a directory."""
    kinds: dict[str, list[tuple[bytes, str]]] = {}
    for path, reason in problems:
        kinds.setdefault(reason.rpartition(": ")[2], []).append((path, reason))
    for kind, members in kinds.items():
        for path, reason in members[:_IN_FULL]:
            yield f"{word}: {printable(path)}: {reason}"
        if len(members) > _IN_FULL:
            yield f"{word}: … and {len(members) - _IN_FULL:,} more: {kind} (--json lists all)"


def first_line(request: Request, ranks: int) -> str:
    """Return the first line of the log: the request, and the number of working ranks. ranks: with rank 0"""
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
    return f"hpcp-mpi {__version__}: {_doing(request)}{names}, working ranks: {ranks - 1}"


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
    failed, code = len(report.failures), report.exit_code
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


def report_at(path: Path) -> Output:
    """Return the place of a report, to be closed. Raises FatalError if none could be written there, before hours of
    work."""
    shown = printable(os.fsencode(path))
    try:
        output = output_at(os.fsencode(path), "the report")
    except IsADirectoryError:
        raise FatalError(f"cannot write the report to {shown}: it is a directory", "Name a file in it.") from None
    except (FileNotFoundError, NotADirectoryError):
        there = printable(os.fsencode(path.parent))
        raise FatalError(
            f"cannot write the report to {shown}: there is no directory {there}", "Nothing was done."
        ) from None
    except OSError as error:
        raise FatalError(f"cannot write the report to {shown}: {reason_of(error)}", "Nothing was done.") from None
    why = ""
    if output.in_place and (output.is_standard or not output.is_open):
        # A report would replace /dev/null, and on standard output the table is.
        why, remedy = "it is not a regular file", "Name one, or a new one."
    elif output.directory is not None and not os.access(output.directory, os.W_OK | os.X_OK):
        why, remedy = "Permission denied", "Nothing was done."
    if why:
        output.close()
        raise FatalError(f"cannot write the report to {shown}: {why}", remedy)
    return output


def check_json(path: Path) -> None:
    """Raise FatalError if no report could be written to path."""
    report_at(path).close()


def write_json(report: Report | LedgerStatus, place: Path | Output) -> None:
    """Write a report as JSON, replacing an old file in one step. Raises FatalError."""
    output = None
    try:
        output = output_at(os.fsencode(place), "the report") if isinstance(place, Path) else place
        with output.opened() as file:
            file.write(json.dumps(report.as_dict(), indent=1).encode() + b"\n")
    except OSError as error:
        given = os.fsencode(place) if isinstance(place, Path) else place.given
        raise FatalError(f"cannot write the report to {printable(given)}: {reason_of(error)}") from None
    finally:
        if output is not None:
            output.close()
