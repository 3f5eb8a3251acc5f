"""Naming what directories hold, for a file list: a walk in the list's order, on any rank.

What one walk finds in a row is one part of the list, ready to be written. Where a directory is left for others, a part
ends. Per entry there is next to nothing but calls that work on all names of a directory at once.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.walk_feed import WalkResult
from hpcp_mpi.formats.file_list import Entry, Type, escaped, needs_escapes, written
from hpcp_mpi.formats.natural_order import in_order, key_of, key_of_name
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.entries import encoded, is_folder
from hpcp_mpi.host.stage import stages_among
from hpcp_mpi.operations.list_files.named import ListPart
from hpcp_mpi.operations.list_files.values import Values
from hpcp_mpi.vocab.errors import failure_of
from hpcp_mpi.vocab.options import MIB, Options
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import STAGE_PREFIX, child_path, join
from hpcp_mpi.vocab.request import Style
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, ONE_LINK, ONE_SPECIAL, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

HUGE = 50_000  # entries of a directory that are sorted together; of more, rank 0 makes several lots
_SECONDS = 0.1  # after which no further directory is begun: others may be idle
_EACH = 0.01  # the same for each unit that was asked for: at first there is one, and all others are idle
_HASHED = 256  # files that are hashed before the time is looked at
_PART = 4 * MIB  # bytes after which a part ends
_WAITING = 64  # entries that a directory is taken for that was not listed yet

Entries = Sequence["os.DirEntry[str]"]
_name: Callable[["os.DirEntry[str]"], str] = attrgetter("name")
_STAGE = os.fsdecode(STAGE_PREFIX)


def list_entries(context: JobContext, batch: Batch, outcome: Outcome) -> None:
    """Name what a LIST_NAMES batch stands for, for as long as it is short; the rest is for others.

    Units with a tally are entries of source_dir that are no directories. Others are paths of directories. Either follow
    each other in the list.
    """
    walk = ListWalk(context, batch.source, outcome)
    units = list(batch.units)
    if units[0].tally:
        walk.take_entries(batch.source_dir, units)
    else:
        walk.take_directories([unit.name for unit in units])
    named, left = walk.until(time.monotonic() + min(_SECONDS, _EACH * len(units)))
    outcome.findings.append(WalkResult(len(units), left, named))


def unit_of(directory: bytes, options: Options) -> Unit:
    """Return the unit of a directory that was not listed yet."""
    return Unit(directory, NOTHING, _WAITING * options.file_cost)


@dataclass(slots=True, eq=False)
class _NameRun:
    """Entries of a directory that are no directories and follow each other in the list."""

    directory: bytes
    names: list[bytes]
    types: dict[bytes, Type]  # of those that are not regular files
    plain: bool  # no name has to be escaped


class ListWalk:
    """A walk through a part of a source, in the order of the list."""

    def __init__(self, context: JobContext, source: int, outcome: Outcome) -> None:
        assert context.job.naming is not None
        self._context = context
        self._source = source
        self._outcome = outcome
        self._style = context.job.naming.style
        self._prefix = context.job.naming.prefixes[source]
        self._omitted = {path for at, path in context.job.naming.omitted if at == source}
        self._excluded = context.excluded
        self._values = Values(context)
        self._stack: list[bytes | _NameRun] = []  # what is to be named, the next one last; directories are paths
        self._parts = _Parts(ListPart())
        self._left: list[Batch] = []
        self._tally = NOTHING

    def take_directories(self, paths: list[bytes]) -> None:
        """Walk through directories that follow each other in the list."""
        self._stack += reversed(paths)

    def take_entries(self, directory: bytes, units: list[Unit]) -> None:
        """Name entries of a directory that are no directories."""
        types = {unit.name: Type.LINK if unit.tally.links else Type.OTHER for unit in units if not unit.tally.files}
        self._stack.append(_NameRun(directory, [unit.name for unit in units], types, False))

    def take_some(self, directory: bytes, entries: Entries) -> None:
        """Name some entries of a directory, and walk through those that are directories."""
        names, folders, types = self._sorted_out(directory, self._wanted(directory, entries))
        joined = "/".join(names)
        plain = not needs_escapes(joined)
        ordered = encoded(joined).split(b"/") if names else []
        ordered = in_order(ordered + [encoded(name) + b"/" for name in folders])
        run = _NameRun(directory, [] if folders else ordered, types, plain)
        items: list[bytes | _NameRun] = [run]
        for name in ordered if folders else ():
            if name.endswith(b"/"):
                run = _NameRun(directory, [], types, plain)
                items += [join(directory, name[:-1]), run]
            else:
                run.names.append(name)
        self._stack += [item for item in reversed(items) if isinstance(item, bytes) or item.names]

    def until(self, deadline: float) -> tuple[ListPart, list[Batch]]:
        """Continue until the deadline; return what was named, and what is left for others."""
        begun = False
        while self._stack and not (begun and time.monotonic() > deadline):
            item = self._stack.pop()
            begun = True
            if isinstance(item, bytes):
                self._directory(item)
            else:
                self._entries(item)
            if self._context.commands.stopped:
                raise Stopped
        return self.leave()

    def leave(self) -> tuple[ListPart, list[Batch]]:
        """Leave for others what takes time; names that need nothing more are written. Return both."""
        for directories, items in groupby(reversed(self._stack), lambda item: isinstance(item, bytes)):
            if directories:
                units = Units.of(unit_of(item, self._context.options) for item in items if isinstance(item, bytes))
                self._left.append(Batch(Kind.LIST_NAMES, self._source, b"", b"", units))
                self._parts.end()
                continue
            for item in items:
                assert not isinstance(item, bytes)
                self._leave_entries(item)
        self._stack.clear()
        named = self._parts.all()
        named.tally = self._tally
        return named, self._left

    def _leave_entries(self, item: _NameRun) -> None:
        if self._style is not Style.HASHES:
            self._entries(item)
            return
        units = Units.of(Unit(name, _TALLY[item.types.get(name, Type.FILE)]) for name in item.names)
        self._left.append(Batch(Kind.LIST_NAMES, self._source, item.directory, b"", units))
        self._parts.end()

    # --- directories

    def _directory(self, path: bytes) -> None:
        context = self._context
        entries: list[os.DirEntry[str]] = []
        try:
            with ExitStack() as stack:
                with context.latency.noted():
                    directory = stack.enter_context(context.source_tree(self._source).at(path))
                entries = list(islice(stack.enter_context(os.scandir(directory)), HUGE + 1))
        except OSError as error:
            failure = failure_of(self._path(path), error, "cannot list")
            self._outcome.failures.append(failure)
            if failure.vanished:
                return
        if len(entries) > HUGE:
            self._parts.end()
            self._parts.named.huge.append((self._source, path))
            return
        self.take_itself(path)
        self.take_some(path, entries)

    def take_itself(self, path: bytes) -> None:
        """Name a directory."""
        called = join(self._prefix, path)
        # The `/` shows where in the order it belongs; where names end in NUL it is taken away at last.
        slash = b"/" if self._style is Style.NUL else b""
        line = written(Entry(called, Type.DIRECTORY), self._style) + slash + self._style.end
        self._parts.add(line, (called, b""), (called, b""))
        self._tally = self._tally.plus(ONE_DIRECTORY)

    def _sorted_out(self, directory: bytes, entries: Entries) -> tuple[list[str], list[str], dict[bytes, Type]]:
        """Return the names of non-directories, those of directories, and the types of all but regular files."""
        try:
            if not any(map(os.DirEntry.is_symlink, entries)) and all(map(os.DirEntry.is_file, entries)):
                return [*map(_name, entries)], [], {}
        except OSError:
            pass  # below it is said of which
        names: list[str] = []
        folders: list[str] = []
        types: dict[bytes, Type] = {}
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                    continue
                if not entry.is_file(follow_symlinks=False):
                    types[encoded(entry.name)] = Type.LINK if entry.is_symlink() else Type.OTHER
                names.append(entry.name)
            except OSError as error:
                self._outcome.failures.append(failure_of(self._path(directory, encoded(entry.name)), error))
        return names, folders, types

    def _wanted(self, directory: bytes, entries: Entries) -> Entries:
        """Leave out what is excluded, what killed runs left behind, and the list itself."""
        hidden = [entry.name for entry in entries if entry.name[0] == "." and entry.name.startswith(_STAGE)]
        if hidden:
            stages = self._stages(directory, [encoded(name) for name in hidden])
            entries = [entry for entry in entries if encoded(entry.name) not in stages]
        if any(path.rpartition(b"/")[0] == directory for path in self._omitted):
            entries = [entry for entry in entries if join(directory, encoded(entry.name)) not in self._omitted]
        if self._excluded is not None:
            excluded = self._excluded
            entries = [
                entry for entry in entries if not excluded(self._path(directory, encoded(entry.name)), is_folder(entry))
            ]
        return entries

    def _stages(self, directory: bytes, names: list[bytes]) -> list[bytes]:
        try:
            with self._context.source_tree(self._source).handle(directory) as fd:
                return stages_among(fd, names)
        except OSError as error:
            self._outcome.failures.append(failure_of(self._path(directory), error, "cannot list"))
            return []

    def _path(self, directory: bytes, name: bytes = b"") -> bytes:
        return child_path(self._context.job.sources[self._source].path, join(directory, name))

    # --- entries

    def _entries(self, item: _NameRun) -> None:
        """Name entries, or some of them where that takes long: the others go back on the stack."""
        names = item.names
        if self._style is Style.HASHES:
            names, later = names[:_HASHED], names[_HASHED:]
            if later:
                self._stack.append(_NameRun(item.directory, later, item.types, item.plain))
            texts = self._with_values(item, names)
            names = [name for name, text in zip(names, texts, strict=True) if text]
            texts = [text for text in texts if text]
        elif self._style is Style.NUL or item.plain:
            texts = names
        else:
            texts = [escaped(name) for name in names]
        if not names:
            return
        called = join(self._prefix, item.directory)
        end = self._style.end
        lead = (called if self._style is Style.NUL else escaped(called)) + b"/" if called else b""
        self._parts.add(lead + (end + lead).join(texts) + end, (called, names[0]), (called, names[-1]))
        links = others = 0
        if item.types:
            links = sum(item.types.get(name) is Type.LINK for name in names)
            others = sum(item.types.get(name) is Type.OTHER for name in names)
        self._tally = self._tally.plus(Tally(len(names) - links - others, 0, links, others))

    def _with_values(self, item: _NameRun, names: list[bytes]) -> list[bytes]:
        """Return names as they are written, with hashes and targets; nothing for what is gone."""
        try:
            with self._context.source_tree(self._source).at(item.directory) as directory:
                values, failed = self._values.of(names, item.types, directory)
        except OSError as error:
            self._outcome.failures.append(failure_of(self._path(item.directory), error, "cannot open the directory"))
            return [b""] * len(names)
        texts = [b"%s:%s" % pair for pair in zip(names if item.plain else map(escaped, names), values, strict=True)]
        for name, why in failed.items():
            failure = failure_of(self._path(item.directory, name), why, "cannot read")
            self._outcome.failures.append(failure)
            if failure.vanished:
                texts[names.index(name)] = b""
        return texts


class _Parts:
    """Parts of a list, put together."""

    def __init__(self, named: ListPart) -> None:
        self.named = named
        self._done: list[bytes] = []
        self._begin = 0  # of the part at hand
        self._chunks: list[bytes] = []
        self._size = 0
        self._first = self._last = (b"", b"")  # (directory as it is called, name in it); without a name: itself

    def add(self, text: bytes, first: tuple[bytes, bytes], last: tuple[bytes, bytes]) -> None:
        """Add entries that follow those that were added before."""
        if not self._chunks:
            self._first = first
        self._last = last
        self._chunks.append(text)
        self._size += len(text)
        if self._size >= _PART:
            self.end()

    def end(self) -> None:
        """What is added next may not follow."""
        if self._chunks:
            self.named.parts.append((_key(*self._first), _key(*self._last), self._begin, self._size))
            self._done += self._chunks
            self._begin += self._size
            self._chunks, self._size = [], 0

    def all(self) -> ListPart:
        self.end()
        self.named.text = b"".join(self._done)
        return self.named


def _key(directory: bytes, name: bytes) -> bytes:
    key = key_of(directory, directory=True)
    return key + key_of_name(name) if name else key


_TALLY = {Type.FILE: one_file(0), Type.LINK: ONE_LINK, Type.OTHER: ONE_SPECIAL}
