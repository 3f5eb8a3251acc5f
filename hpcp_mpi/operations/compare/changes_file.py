"""The file of differences, written by rank 0: a table of changes or a list for tar. Neither sits in memory."""

import heapq
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from typing import Any, cast

from hpcp_mpi.cluster.feed import Stream
from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.formats.changes_table import HEADER, Op, Row, tar_name
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.host.output_file import Output, output_at
from hpcp_mpi.operations.compare.differences import Differences
from hpcp_mpi.operations.scan.records import LinkedName
from hpcp_mpi.rules.landing import Landing
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.paths import child_path, is_within, printable
from hpcp_mpi.vocab.request import Request
from hpcp_mpi.vocab.units import DEST, Batch, Kind, Unit, Units

_TOGETHER = 200  # entries that are described as one batch
_MOST_NAME = 255  # bytes


@contextmanager
def placed(request: Request) -> Iterator[Output | None]:
    """Yield the place of the file that asked has differences written to; None where there is none.

    Raises FatalError: a file that is read, or is not a regular file, is never replaced.
    """
    if request.changes_file is None:
        yield None
        return
    given = request.changes_file or _automatic(request)
    try:
        output = output_at(given, "the list of changes")
    except OSError as error:
        raise FatalError(
            f"nothing can be written to {printable(given)}: {reason_of(error)}", "Name a file with -dfl."
        ) from None
    try:
        _refuse(output, request)
        yield output
    finally:
        output.close()


def _refuse(output: Output, request: Request) -> None:
    path = output.path
    for name in (request.file_list, request.source_list):
        if name is not None and name != b"-" and os.path.realpath(name) == path:
            raise UsageError(f"{printable(path)} is the list that is read: it is not overwritten", "Name another file.")
    if not output.regular:
        raise FatalError(f"{printable(path)} is not a regular file: it is not replaced by a list of changes")
    if output.directory is not None and not os.access(output.directory, os.W_OK | os.X_OK):
        raise FatalError(f"nothing can be written in {printable(output.directory)}", "Name a file with -dfl.")


def _automatic(request: Request) -> bytes:
    """Return hpcp's name for the file, in the working directory."""
    to = request.destinations[0] if request.destinations else request.file_list or b""
    sources = b"-".join(
        _last(path) for path in (*request.sources, *([request.source_list] if request.source_list else ()))
    )
    end = b"_TO_%s_%d_%sfile_list.txt" % (_last(to), time.time(), b"tar_" if request.tar_list else b"")
    return b"DIFF_" + sources[: max(0, _MOST_NAME - len(end) - 5)] + end


def _last(path: bytes) -> bytes:
    return os.path.basename(os.path.realpath(path)) or b"root"


class Origins:
    """Which source an entry of the destination is, or would be, a copy of."""

    def __init__(self, context: JobContext, landings: Sequence[Landing]) -> None:
        self._context = context
        self._entries: dict[bytes, int] = {}  # by where they land
        self._contents: dict[bytes, list[int]] = {}
        self._landings = landings
        self._excluded = context.excluded
        for index, landing in enumerate(landings):
            if landing.name is not None:
                self._entries[landing.target] = index
            else:
                self._contents.setdefault(landing.dest_dir, []).append(index)

    def of(self, path: bytes) -> tuple[int, bytes] | None:
        """Return (source, path below its root) of what is to be at path; None where no source has it.

        Of a directory that several sources have it is the last one: that one's metadata counts.
        """
        if path in self._entries:
            index = self._entries[path]
            return index, self._landings[index].name or b""
        first = path.partition(b"/")[0]
        found = [(index, path) for index in self._contents.get(b"", ())]
        if first:
            found += [(index, path[len(first) + 1 :]) for index in self._contents.get(first, ())]
        if len(found) > 1:
            found = sorted(each for each in found if self._has(*each))
        return found[-1] if found else None

    def _has(self, index: int, path: bytes) -> bool:
        directory, _, name = path.rpartition(b"/")
        try:
            with self._context.source_tree(index).at(directory) as fd:
                status = lstat(name or b".", fd)
        except OSError:
            return False
        if status is None or self._excluded is None:
            return status is not None
        return not self._excluded(child_path(self._context.job.sources[index].path, path), stat.S_ISDIR(status.st_mode))


class States(Stream):
    """A feed: has the entries of differences described. The rows are in `rows` then."""

    def __init__(self, differences: Differences, origins: Origins) -> None:
        super().__init__(_state_batches(differences, origins))
        self.rows = ExternalSort()

    def on_findings(self, news: list[Any]) -> None:
        for rows in news:
            self.rows.add(rows)


def _state_batches(differences: Differences, origins: Origins) -> Iterator[Batch]:
    for op in Op:
        units = (_unit(op, path, origins) for _, path, _ in differences.of(op))
        for source, some in groupby(units, key=lambda unit: unit[0]):
            same = (unit for _, unit in some)
            while together := list(islice(same, _TOGETHER)):
                yield Batch(Kind.DESCRIBE, source, b"", b"", Units.of(together), new=op is Op.ADDED)


def _unit(op: Op, shown_as: bytes, origins: Origins) -> tuple[int, Unit]:
    """Return (source, unit) of an entry. Where it comes from is not known if it vanished just now: any will do."""
    path = path_of(shown_as)
    if op is Op.DELETED:
        return DEST, Unit(path)
    source, name = origins.of(path) or (0, path)
    return source, Unit(name, dest_name=path)


def path_of(shown_as: bytes) -> bytes:
    """Return the path below the root of what an item calls shown_as."""
    path = shown_as.removesuffix(b"/")
    return b"" if path == b"." else path


def table(rows: Iterable[Any]) -> Iterator[bytes]:
    """Yield the lines of a table of changes."""
    yield HEADER
    yield from (Row._make(row).line for row in rows)


def write(output: Output, lines: Iterable[bytes]) -> None:
    """Write a table, or a list for tar. Raises FatalError."""
    try:
        with output.opened() as file:
            file.writelines(lines)
    except OSError as error:
        raise FatalError(f"cannot write {printable(output.path)}: {reason_of(error)}") from None


def written(path: bytes, tar_list: bool) -> str:
    """Return what is said of the file, whose name may have been made up here."""
    return f"{'names for tar -T' if tar_list else 'the table of differences'}: {printable(path)}"


def changed(differences: Differences) -> Iterator[bytes]:
    """Yield what was added or modified, sorted."""
    return heapq.merge(*((path for _, path, _ in differences.of(op)) for op in (Op.ADDED, Op.MODIFIED)))


def tar_list(differences: Differences, linked: ExternalSort, origins: Origins, nul: bool) -> Iterator[bytes]:
    """Yield the names for `tar -T`: what was added and modified."""
    return (tar_name(name, nul) for name in _tar_paths(differences, linked, origins))


def _tar_paths(differences: Differences, linked: ExternalSort, origins: Origins) -> Iterator[bytes]:
    """Yield what tar is to be given, sorted.

    Beside what differs: the other names of files that are to be extracted again, else they would stay names of the old
    files; and the directories that all of these are in, else their times would be those of the extraction.
    """

    more = _other_names(changed(differences), linked)
    directories = ExternalSort()
    last = None
    for path in heapq.merge(changed(differences), _only_paths(more)):
        directory = path_of(path).rpartition(b"/")[0]
        if path != b"./" and directory != last and origins.of(directory) is not None:
            directories.add([((directory or b".") + b"/",)])
        last = directory
    names = heapq.merge(changed(differences), _only_paths(more), _only_paths(directories))
    return (path for path, _ in groupby(names))


def _only_paths(records: ExternalSort) -> Iterator[bytes]:
    return (path for (path,) in cast(Iterable[tuple[bytes]], records))


def _other_names(changed: Iterator[bytes], linked: ExternalSort) -> ExternalSort:
    """Return the names of all files of which a name was changed."""
    names, groups, found = ExternalSort(), ExternalSort(), ExternalSort()
    for number, group in enumerate(linked_groups(linked)):
        names.add((name, number) for name in group)
    known = cast(Iterator[tuple[bytes, int]], iter(names))
    groups.add((number,) for _, number in _common(changed, known))
    hit = (number for (number,) in cast(Iterable[tuple[int]], groups))
    wanted = next(hit, None)
    for number, group in enumerate(linked_groups(linked)):
        if number == wanted:
            found.add((name,) for name in group)
            wanted = next(hit, None)
    return found


def linked_groups(linked: ExternalSort) -> Iterator[set[bytes]]:
    """Yield the names of each file that is known to have several."""
    for _, same in groupby(map(LinkedName._make, linked), key=lambda record: record.inode):
        group: set[bytes] = set()
        for record in same:
            group |= {record.target, record.leader or record.target}
        yield group


def _common(paths: Iterator[bytes], records: Iterator[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """Yield the records whose path is among paths; both are sorted."""
    path = next(paths, None)
    for record in records:
        while path is not None and path < record[0]:
            path = next(paths, None)
        if path == record[0]:
            yield record


def in_the_way(differences: Differences) -> Iterator[bytes]:
    """Yield the directories that were deleted and something else was added in their place: tar does not remove them."""
    deleted = ExternalSort()
    deleted.add((path_of(path),) for _, path, _ in differences.of(Op.DELETED) if path.endswith(b"/"))
    added = ((path, 0) for _, path, _ in differences.of(Op.ADDED) if not path.endswith(b"/"))
    return (path for path, _ in _common(_only_paths(deleted), added))


Remark = Callable[[bytes, str], None]


def remark_in_trees(path: bytes, context: JobContext, remark: Remark) -> None:
    """Say so if the file is in one of the trees that are compared."""
    roots = [root.path for root in (*context.job.sources, context.job.destination_root) if root is not None]
    for root in roots:
        if is_within(path, os.path.realpath(root)):
            remark(
                path, f"this list is written into {printable(root)}, which is compared: the next compare will find it"
            )
            return
