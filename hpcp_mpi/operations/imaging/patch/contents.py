"""What a patch is made of: what differs between two trees, its rows, and its payload.

What differs is found as by a comparison. The states that a patch leads to are those of the copies in it.
"""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.engine.itemize import Item
from hpcp_mpi.formats import patch_manifest
from hpcp_mpi.formats.changes_table import Op
from hpcp_mpi.formats.entry_state import ABSENT, FULL
from hpcp_mpi.formats.patch_manifest import CHANGES, MANIFEST, MORE, PLACE, Manifest
from hpcp_mpi.formats.patch_rows import Pair, Row, Rows, more, table
from hpcp_mpi.host.dirfd import FLAGS
from hpcp_mpi.operations.compare.differences import Differences
from hpcp_mpi.operations.compare.rank0 import compare_trees
from hpcp_mpi.operations.copy.from_list.rank0 import copy_names
from hpcp_mpi.operations.imaging.patch.entry_looks import Looks, Seen
from hpcp_mpi.operations.imaging.patch.images import Side
from hpcp_mpi.operations.imaging.rules.patch import MARK, RESERVED
from hpcp_mpi.operations.imaging.run import Imaging, team_of, with_patterns_inside
from hpcp_mpi.rules.excludes import literal
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.options import MIB, Options
from hpcp_mpi.vocab.paths import first_few, join, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb

_LEAST_TAIL = 16 * MIB  # bytes of each file's end that are hashed at least: hpcp's own default
_SHOWN = 3  # names in a message


def tail_of(options: Options) -> int:
    """Return of how many of the last bytes of each file a patch has hashes; FULL: of all; 0: none."""
    if options.full_hash:
        return FULL
    return max(options.hash_size, _LEAST_TAIL) if options.hash_size else 0


class Contents:
    """What differs between two trees, and the patch that comes of it. In this order: compare, look, fill."""

    def __init__(self, run: Imaging, new: Side, base: Side) -> None:
        self._run = run
        self._sides = new, base
        self._tail = tail_of(run.options)
        self.differences = Differences()
        self.report = Report()
        self.new: Mapping[bytes, Seen] = {}  # the tree that the patch leads to
        self.base: Mapping[bytes, Seen] = {}
        self._ops: dict[bytes, set[Op]] = {}
        self._linked: list[Pair] = []
        self._own: set[bytes] = set()  # directories with a row of their own, and what hard links need

    def compare(self) -> None:
        """Find out what differs. Raises FatalError, StoppedEarly."""
        run, (new, base) = self._run, self._sides
        options = with_patterns_inside(run.options, run.room) if new.image else run.options
        if new.ext or base.ext:
            # What mkfs makes in the root of each ext is nobody's.
            options = replace(
                options, optional_excludes=(*options.optional_excludes, literal(new.path) + b"/lost+found")
            )
        request = Request(Verb.COMPARE, (new.path,), (base.path,), replace(options, places=(b"",)))
        with team_of(run) as wire:
            frontend = replace(run.frontend, items=self.differences)
            self.report, linked, shared = compare_trees(wire, request, frontend, self.differences)
            for op in Op:
                for path in _paths(self.differences.of(op)):
                    self._ops.setdefault(path, set()).add(op)
            for names in shared:
                self._take_shared(names)
            for group in linked:
                self._take_linked(group)
        self.report.differences = None  # exit code 0
        if self.report.failures:
            first = self.report.failures[0]
            raise FatalError(
                f"the trees could not be compared: {printable(first.path)}: {first.reason}",
                "A patch of what could be read would remove the rest. Leave it out with -e, or make it readable.",
            )
        reserved = [path for path in self._ops if path.split(b"/")[0] in RESERVED]
        if reserved:
            raise FatalError(
                f"there is {printable(reserved[0])}, which patches have for themselves, in {printable(new.name)} or "
                f"{printable(base.name)}",
                f"Remove it, or leave it out with -e. {printable(MARK)}: a patch was not applied to its end there.",
            )

    def _take_linked(self, group: list[bytes]) -> None:
        if any(path in self._ops or path in self._own for path in group):
            self._own.update(group)

    def _take_shared(self, names: list[tuple[bytes, object]]) -> None:
        if len({file for _, file in names}) > 1:
            self._own.update(path for path, _ in names)

    def look(self) -> None:
        """Look at all that differs, and at the directories that it lies in. Raises FatalError, Stopped."""
        rows = {*self._ops, *self._own}
        above = {path.rpartition(b"/")[0] for path in rows if path}
        paths = rows | above | {b""}
        new, base = self._sides
        self.base = self._looks(base.path, paths, self._tail)
        self.new = self._looks(new.path, paths, 0)
        self._find_links(rows)
        self._own |= {path for path in above if path not in self._ops and self._both_directories(path)}

    def _find_links(self, paths: set[bytes]) -> None:
        firsts: dict[tuple[int, int], bytes] = {}
        for path in sorted(paths):
            seen = self.new[path]
            if seen.names > 1 and not seen.state.is_directory:
                first = firsts.setdefault(seen.inode, path)
                self._linked += [(first, path)] if first != path else []

    def _both_directories(self, path: bytes) -> bool:
        return self.new[path].state.is_directory and self.base[path].state.is_directory

    def _looks(self, root: bytes, paths: Iterable[bytes], tail: int) -> dict[bytes, Seen]:
        fd = os.open(root, FLAGS)
        try:
            return Looks(root, fd, lambda: self._run.stopping).at(dict.fromkeys(sorted(paths), ((None, tail),)))
        finally:
            os.close(fd)

    def rows(self) -> list[Row]:
        """Return the rows of the patch."""
        rows = []
        for path in {*self._ops, *self._own}:
            old, new = self.base[path].state, self.new[path].state
            if old.there and new.there and old.kind == new.kind:
                rows.append(Row(Op.MODIFIED, path, old, new))
                continue
            if old.there:
                rows.append(Row(Op.DELETED, path, old, ABSENT))
            if new.there:
                rows.append(Row(Op.ADDED, path, ABSENT, new))
        return rows

    def told(self) -> Rows:
        """Return all that the patch says, with paths below what it is applied to."""
        prefix, rows = self._sides[1].prefix, self.rows()
        known = {row.path for row in rows if row.new.there}
        linked = (pair for pair in self._linked if known.issuperset(pair))
        return Rows(
            tuple(row._replace(path=join(prefix, row.path)) for row in rows),
            tuple((join(prefix, one), join(prefix, other)) for one, other in linked),
        )

    def payload(self) -> list[bytes]:
        """Return the paths that the patch holds."""
        return sorted({row.path for row in self.rows() if row.new.there} | {b""})

    def fill(self, place: bytes, paths: list[bytes]) -> None:
        """Copy what the patch holds, and write down what it says. Raises FatalError, StoppedEarly, Stopped."""
        run, (new, base) = self._run, self._sides
        top = join(place, base.prefix)
        os.makedirs(top, 0o755, exist_ok=True)
        with team_of(run) as wire:
            frontend = replace(run.frontend, items=None)
            copied = copy_names(wire, new.path, top, paths, _copy_options(run.options), frontend)
        if copied.ended_early:
            raise StoppedEarly(copied.stopped, run.frontend.stop.name)
        if copied.failures:
            names = first_few([failure.path for failure in copied.failures], _SHOWN)
            first = copied.failures[0].reason
            raise FatalError(
                f"the patch cannot hold {names}: {run.shown.text(first)}",
                "No patch was written. Did it change meanwhile? Leave it out with -e, or make the patch again.",
            )
        self.report.outcome.notes += copied.outcome.notes
        self.report.outcome.copied = copied.outcome.copied
        self.report.outcome.verified = copied.outcome.verified
        self.new = {**self.new, **self._looks(top, paths, self._tail)}
        self._write(place)

    def _write(self, place: bytes) -> None:
        told = self.told()
        try:
            before = os.stat(place)
            directory = os.path.join(place, PLACE)
            os.mkdir(directory, 0o755)
            for name, lines in (
                (CHANGES, table(told.rows)),
                (MORE, more(told)),
                (MANIFEST, iter([patch_manifest.written(self._manifest(told))])),
            ):
                with open(os.path.join(directory, name), "xb") as file:
                    file.writelines(lines)
            os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
        except OSError as error:
            raise FatalError(f"cannot write the patch: {reason_of(error)}") from None

    def _manifest(self, told: Rows) -> Manifest:
        ops = [row.op for row in told.rows if row.old != row.new]
        new, base = self._sides
        return Manifest(
            uuid.uuid4().hex.encode(),
            _last(new),
            _last(base),
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            layout="store" if base.prefix else "root",
            tail=self._tail,
            added=ops.count(Op.ADDED),
            modified=ops.count(Op.MODIFIED),
            deleted=ops.count(Op.DELETED),
            payload_bytes=sum(row.new.size or 0 for row in told.rows),
            program="hpcp-mpi",
        )

    def counts(self) -> str:
        """Return what differs, in words."""
        ops = [op for path in self._ops for op in self._ops[path]]
        return ", ".join(f"{ops.count(op):,} {op.name.lower()}" for op in (Op.ADDED, Op.MODIFIED, Op.DELETED))


def _last(side: Side) -> bytes:
    return os.path.basename(os.path.abspath(side.name)) or b"root"


def _paths(items: Iterable[Item]) -> Iterator[bytes]:
    for _, path, _ in items:
        path = path.removesuffix(b"/")
        yield b"" if path == b"." else path


def _copy_options(options: Options) -> Options:
    """Return options of the copy into a patch: what it takes was chosen already."""
    plain = replace(options, excludes=(), optional_excludes=(), itemize=False, compare=False, modify_window=0.0)
    return replace(plain, mirror=False, move=False, backup_dir=b"", make_destination=False, strict_metadata=True)
