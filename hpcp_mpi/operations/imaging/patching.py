"""Writing a patch (-diff): what makes one tree equal to another, in an image. Neither of the two is changed.

What differs is found as by a comparison. What was added or modified is copied into the image, and the states that the
patch leads to are those of these copies: a file that changes meanwhile is in the patch as it was copied.
"""

import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.engine.itemize import Item
from hpcp_mpi.formats import patch_manifest
from hpcp_mpi.formats.changes_table import Op
from hpcp_mpi.formats.entry_state import ABSENT, FULL
from hpcp_mpi.formats.patch_manifest import CHANGES, MANIFEST, MORE, PLACE, Manifest
from hpcp_mpi.formats.patch_rows import Pair, Row, Rows, more, table
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import FLAGS
from hpcp_mpi.operations.compare.differences import Differences
from hpcp_mpi.operations.compare.rank0 import compare_trees
from hpcp_mpi.operations.copy.from_list.rank0 import copy_names
from hpcp_mpi.operations.imaging.entry_looks import Looks, Seen
from hpcp_mpi.operations.imaging.patch_images import Side, new_image, output_of, side_of
from hpcp_mpi.operations.imaging.rules.patch_need import need_of
from hpcp_mpi.operations.imaging.run import Imaging, team_of, with_patterns_inside
from hpcp_mpi.operations.imaging.shown import rename_report
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.options import MIB, Options
from hpcp_mpi.vocab.paths import first_few, is_within, printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb

_LEAST_TAIL = 16 * MIB  # bytes of each file's end that are hashed at least: hpcp's own default
_SHOWN = 3  # names in a message
_MOST_NAME = 255  # bytes


def write_patch(run: Imaging) -> Report:
    """Write a patch. Raises FatalError; a signal is said in the report, and there is no patch then."""
    if run.images.disk:
        raise FatalError(
            "this version makes no patches of whole disks (-dd -diff)",
            "Make one of each partition: hpcp-mpi -si NEW --partition P -d BASE -diff PATCH.",
        )
    try:
        return _written(run)
    except FatalError as error:
        raise run.shown.renamed(error) from None
    except Stopped:
        return Report(stopped=run.frontend.stop.code)
    except StoppedEarly as early:
        return Report(stopped=early.code)


def _written(run: Imaging) -> Report:
    images, request = run.images, run.request
    if len(images.images) + len(request.sources) != 1:
        raise UsageError("a patch leads to one tree, and several are named", "Name one directory, or one image (-si).")
    new = side_of(run, b"".join(images.images), b"".join(request.sources))
    base = side_of(run, images.image, b"".join(request.destinations))
    output, replaced = output_of(images.patch or _automatic(new, base), images.yes)
    with closing(output):
        for side in (new, base):
            if not side.image and is_within(output.path, side.path):
                raise UsageError(
                    f"the patch {printable(output.given)} would lie in {printable(side.name)}, which is compared",
                    "Name a file somewhere else.",
                )
        found = _Found(run, new, base)
        found.compare()
        report = found.report
        report.sources, report.destination = [new.name], base.name
        items = run.frontend.items
        if items is not None:
            for op in Op:
                items.add(found.differences.of(op))
        found.look()
        if run.options.dry_run:
            run.frontend.say(f"{found.counts()}; nothing was written (-n)")
            return rename_report(report, run.shown)
        paths = found.payload()
        entries = ((path, found.new[path].state, found.new[path].stored) for path in paths)
        need = need_of(entries, sum(map(len, table(found.rows()))) + sum(map(len, more(found.told()))))
        with new_image(run, output, replaced, need) as place:
            found.fill(place, paths)
        report.dry_run = False
        run.frontend.say(f"{found.counts()}; the patch: {printable(output.path)}")
        return rename_report(report, run.shown)


def _automatic(new: Side, base: Side) -> bytes:
    """Return hpcp's name for a patch, in the working directory."""
    names = [os.path.basename(os.path.abspath(side.name)) or b"root" for side in (new, base)]
    end = b"_%d.img" % time.time()
    most = (_MOST_NAME - len(end) - len(b"DIFF__TO_")) // 2
    return b"DIFF_" + b"_TO_".join(name[:most] for name in names) + end


def tail_of(options: Options) -> int:
    """Return of how many of the last bytes of each file a patch has hashes; FULL: of all; 0: none."""
    if options.full_hash:
        return FULL
    return max(options.hash_size, _LEAST_TAIL) if options.hash_size else 0


class _Found:
    """What differs between two trees, and the patch that comes of it."""

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
        self._separate: list[Pair] = []
        self._own: set[bytes] = set()  # directories with a row of their own, and what hard links need

    def compare(self) -> None:
        """Find out what differs. Raises FatalError, StoppedEarly."""
        run, (new, base) = self._run, self._sides
        options = with_patterns_inside(run.options, run.room) if new.image else run.options
        if new.image or base.image:
            # What mkfs makes in the root of each ext is nobody's.
            options = replace(options, optional_excludes=(*options.optional_excludes, _literally(new.path)))
        request = Request(Verb.COMPARE, (new.path,), (base.path,), replace(options, places=(b"",)))
        with team_of(run) as wire:
            frontend = replace(run.frontend, items=self.differences)
            self.report, linked, shared = compare_trees(wire, request, frontend, self.differences)
            for op in Op:
                for path in _paths(self.differences.of(op)):
                    self._ops.setdefault(path, set()).add(op)
            for group in linked:
                self._take_linked(group)
            for names in shared:
                self._take_shared(names)
        self.report.differences = None  # exit code 0
        if self.report.failures:
            first = self.report.failures[0]
            raise FatalError(
                f"the trees could not be compared: {printable(first.path)}: {first.reason}",
                "A patch of what could be read would remove the rest. Leave it out with -e, or make it readable.",
            )
        reserved = [path for path in self._ops if path.split(b"/")[0] == PLACE and self._ops[path] != {Op.DELETED}]
        if reserved:
            raise FatalError(f"{printable(new.name)} holds {printable(PLACE)}, where patches say what they are")

    def _take_linked(self, group: list[bytes]) -> None:
        if any(path in self._ops for path in group):
            self._own.update(group)
            self._linked += [(group[0], other) for other in group[1:]]

    def _take_shared(self, names: list[tuple[bytes, object]]) -> None:
        firsts: dict[object, bytes] = {}
        for path, file in names:
            firsts.setdefault(file, path)
        first, *others = firsts.values()
        if others:
            self._own.update((first, *others))
            self._separate += [(first, other) for other in others]

    def look(self) -> None:
        """Look at all that differs, and at the directories that it lies in. Raises FatalError, Stopped."""
        above = {path.rpartition(b"/")[0] for path in self._ops if path}
        paths = {*self._ops, *self._own, *above}
        new, base = self._sides
        self.base = self._looks(base.path, paths, self._tail)
        self.new = self._looks(new.path, paths, 0)
        self._own |= {path for path in above if path not in self._ops and self._both_directories(path)}

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
        """Return all that the patch says."""
        rows = self.rows()
        known = {row.path for row in rows if row.new.there}
        linked, separate = (
            [pair for pair in pairs if known.issuperset(pair)] for pairs in (self._linked, self._separate)
        )
        return Rows(tuple(rows), tuple(linked), tuple(separate))

    def payload(self) -> list[bytes]:
        """Return the paths that the patch holds."""
        return sorted({row.path for row in self.rows() if row.new.there} | {b""})

    def fill(self, place: bytes, paths: list[bytes]) -> None:
        """Copy what the patch holds, and write down what it says. Raises FatalError, StoppedEarly, Stopped."""
        run, (new, _) = self._run, self._sides
        with team_of(run) as wire:
            frontend = replace(run.frontend, items=None)
            copied = copy_names(wire, new.path, place, paths, _copy_options(run.options), frontend)
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
        self.new = {**self.new, **self._looks(place, paths, self._tail)}
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


def _literally(root: bytes) -> bytes:
    """Return a pattern for lost+found in a root, whatever characters that has."""
    return re.sub(rb"[[*?]", lambda match: b"[" + match[0] + b"]", root) + b"/lost+found"


def _copy_options(options: Options) -> Options:
    """Return options of the copy into a patch: what it takes was chosen already."""
    plain = replace(options, excludes=(), optional_excludes=(), itemize=False, compare=False, modify_window=0.0)
    return replace(plain, mirror=False, move=False, backup_dir=b"", make_destination=False, strict_metadata=True)
