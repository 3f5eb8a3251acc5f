"""Listing one directory of the source beside its counterpart: what rank 0's scan and every other rank do alike."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Protocol

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.engine.destination import close_to_others, not_replaced
from hpcp_mpi.engine.itemize import note_replaced
from hpcp_mpi.host import metadata
from hpcp_mpi.host.entries import identity, lstat, statx_call
from hpcp_mpi.host.listing import Names, Slice, Sorting, entries_of, only_in, slices
from hpcp_mpi.host.retrying import names_passing, tries
from hpcp_mpi.host.stage import owner_of_stage
from hpcp_mpi.operations.scan.at_once import AtOnce, looked_at
from hpcp_mpi.operations.scan.classify import Classifier
from hpcp_mpi.operations.scan.extras import Extras
from hpcp_mpi.operations.scan.records import ClassifiedEntries, Folder
from hpcp_mpi.operations.scan.symlinks import NOWHERE, climbs, tracked
from hpcp_mpi.operations.scan.unit_builder import UnitBuilder
from hpcp_mpi.rules.equality import metadata_changes
from hpcp_mpi.vocab.abilities import ENDLESS_NS
from hpcp_mpi.vocab.errors import Failure, failure_of, reason_of
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import STAGE_PREFIX, child_path, join
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch

LEFT_OUT = "a file that this run makes or reads; not copied"
ITSELF = "it is the destination itself, or in it, seen through another mount; nothing of it was copied or removed"


def builder_for(options: Options) -> UnitBuilder:
    """Return the collector that options ask for."""
    check_size = None if options.full_hash else options.hash_size
    collapse = options.directory_sync and not options.directory_only
    return UnitBuilder(options.unit_weight, options.file_cost, check_size, collapse, options.split_size)


class Choose(Protocol):
    """Takes out of a slice of a folder what is not for this destination. Thread-safe."""

    def __call__(self, folder: Folder, some: Slice, source: int) -> None:
        """source: a descriptor of the folder."""


class Unlisted(Exception):
    """A directory could not be listed, or not to its end."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def in_its_place(context: JobContext, path: bytes) -> Failure:
    """Return the failure of a directory of the source in the place of which there is something else."""
    return Failure(path, f"cannot be made at the destination: {not_replaced(context.options)}")


class Lister:
    """Lists directories of a job. Thread-safe; each listing belongs to one thread at a time."""

    def __init__(self, context: JobContext, note: Callable[[bytes, str], None], choose: Choose | None = None) -> None:
        """note: takes (absolute path, what a reader should know). choose: leaves out what is not for here."""
        self._context = context
        self._note = note
        self._choose = choose
        options = context.options
        statx_call()  # what it imports takes longer than a short walk may
        self._outside = options.links == "anywhere"
        off = options.links == "never" or options.directory_only or options.compare
        # Links in contents that land in the destination itself lead to what is copied anyway, or outside.
        off_for = (b"",) if not self._outside else ()
        self._landed = [
            NOWHERE if off or each in off_for else each
            for each in context.job.landed or [None] * len(context.job.sources)
        ]
        root = context.job.destination_root
        self._never = context.inode_of(root) if root is not None else None
        devices = [context.inode_of(source)[0] for source in context.job.sources]
        if self._never is not None:
            devices.append(self._never[0])
        self._devices = {number: index for index, number in reversed(list(enumerate(devices)))}
        self._overlay = context.job.abilities.kind == "overlay"
        times = context.job.times
        self._classifier = Classifier(
            times,
            options.directory_only,
            context.excluded,
            self.forbidden,
            self._device,
            note,
            options.strict_metadata,
            self._overlay,
        )
        self._extras = Extras(context, self._classifier.excluded, self._overlay)
        by_lstat = options.hash_size == 0 and not options.full_hash
        astray = self._classifier.astray
        self._how = Sorting(self._classifier.plain, by_lstat, astray, times.within_ns, times.seconds)
        usual = choose is None and self._how.plain and astray is None
        self._at_once = AtOnce(context, self._how, self._sorted) if usual else None
        self._merged, self._left_out = context.job.merged, options.left_out
        self._end_of_time = times.latest_ns is not None and times.latest_ns < ENDLESS_NS
        from hpcp_mpi.operations.scan.equal_entries import EqualEntries  # not before there is work

        self.equal = EqualEntries(context, options.hash_size == 0 and not options.full_hash)

    def forbidden(self, path: bytes, inode: int) -> bool:
        """Return whether a directory is the destination itself."""
        if self._never is None or inode != self._never[1]:
            return False
        try:
            return os.lstat(path).st_dev == self._never[0]
        except OSError:
            return False

    def _device(self, number: int) -> int:
        """Return what stands for a device on all nodes: which of the roots it is the first to be of."""
        return self._devices.get(number, -number)

    def folders(self, builder: UnitBuilder, batch: Batch) -> list[Folder]:
        """Return the folders of the directories in a LIST batch, ready to be listed into the builder."""
        found: list[Folder] = []
        parents: dict[bytes, Folder] = {}
        for unit in batch.units:
            if not unit.name:
                root = builder.root(batch.source, unit.target, batch.new, batch.over)
                found.append(root)
                continue
            source_dir, _, name = unit.name.rpartition(b"/")
            parent = parents.get(source_dir)
            if parent is None:
                parent = parents[source_dir] = builder.place(batch.source, source_dir, unit.target.rpartition(b"/")[0])
                parent.replaces_file = batch.above
                parent.ours = batch.ours
            found.append(builder.child(parent, name, batch.new, batch.over))
        for parent in parents.values():
            parent.listed = True
        return found

    def listing(self, directory: bytes, some: Slice, source: int) -> ClassifiedEntries:
        """Return entries of a directory, an absolute path, sorted by what is to be done. source: its descriptor

        Raises Unlisted where it is the destination itself, which is marked while a move lists its sources.
        """
        if self._context.options.move and any(map(self._context.own, (name for name, _, _ in some.folders))):
            raise Unlisted(Failure(directory, ITSELF))
        count, size = some.same
        listing = ClassifiedEntries(some.fresh, some.equal)
        if count or some.links:
            listing.same = Tally(files=count, links=len(some.links), bytes=size)
        if some.doubtful[0]:
            listing.existing = self.equal.doubtful(some)
        if some.folders:
            self._classifier.folders(listing, directory, some.folders, self._stages(directory, some, source))
        if some.rest:
            self._classifier.entries(listing, directory, some.rest)
        if some.twins:
            self._classifier.twins(listing, some.twins)
        return listing

    def leave_out(self, directory: bytes, some: Slice) -> bool:
        """Take out of a slice of a directory what the run's options leave out; return whether there was any."""
        left = self._left_out
        kept = [each for each in some.rest if (each[1].st_dev, each[1].st_ino) not in left]
        for name, status, _ in some.rest:
            if (status.st_dev, status.st_ino) in left:
                self._note(child_path(directory, name), LEFT_OUT)
        found, some.rest = len(kept) < len(some.rest), kept
        return found

    def _stages(self, directory: bytes, some: Slice, source: int) -> list[bytes]:
        """Return which directories are this user's stages. Another user's are data, as nobody can tell what it is."""
        found: list[bytes] = []
        for name in [name for name, _, _ in some.folders if name.startswith(STAGE_PREFIX)]:
            owner = owner_of_stage(source, name)
            if owner == os.geteuid():
                found.append(name)
            elif owner is not None:
                note = f"looks like the staging directory of a run of user {owner}; taken for data"
                self._note(child_path(directory, name), note)
        return found

    def track(self, folder: Folder, listing: ClassifiedEntries, source: int, known: Sequence[bytes] = ()) -> None:
        """Add to a listing of some of a folder where its relative symlinks lead, if that may have to be copied too.

        source: a descriptor of the folder. known: where those lead that are in no list
        """
        landed = self._landed[folder.source]
        if landed == NOWHERE:
            return
        names = [name for name, tally in listing.others if tally.links]
        names += [each.name for each in listing.existing if each.tally.links]
        names += [each.name for each in listing.linked if each.tally.links]
        within = climbs(landed, folder.source_dir, folder.dest_dir)
        targets = list(known)
        for name in names:
            with suppress(OSError):  # copying it reports the error
                targets.append(os.readlink(name, dir_fd=source))
        for target in targets:
            if target.count(b"..") > within:
                found = tracked(landed, folder.source_dir, folder.dest_dir, target, self._outside)
                if found is not None:
                    listing.tracked.append(found)

    def listings(self, folder: Folder, failures: list[Failure]) -> Iterator[ClassifiedEntries]:
        """Return the entries of a folder, some thousand at a time. failures gets what cannot be looked at.

        What goes wrong with the first of them and may be over in a moment is tried again. Raises Unlisted, also later.
        """
        found = self._at_once.entries(folder) if self._at_once is not None else None
        return self._tried(folder, failures) if found is None else iter((found,))

    def _path(self, folder: Folder) -> bytes:
        """Return the absolute path of a folder."""
        return child_path(self._context.job.sources[folder.source].path, folder.source_dir)

    def _sorted(self, folder: Folder, some: Slice, source: int) -> ClassifiedEntries:
        """Return entries of a folder, sorted by what is to be done. source: its descriptor. Raises Unlisted."""
        listing = self.listing(self._path(folder), some, source)
        if listing.others or listing.existing or listing.linked or some.links:
            self.track(folder, listing, source, some.links)
        return listing

    def _tried(self, folder: Folder, failures: list[Failure]) -> Iterator[ClassifiedEntries]:
        """Yield the entries of a folder; try again what may be over in a moment. Raises Unlisted."""
        for last in tries(lambda: self._context.commands.stopped):
            listings = self._listings(folder, failures)
            try:
                first = next(listings, None)
            except Unlisted as problem:
                if last or not names_passing(problem.failure.reason):
                    raise
                continue
            if last or not any(names_passing(failure.reason) for failure in failures):
                break
            failures.clear()
        if first is not None:
            yield first
            yield from listings

    def _listings(self, folder: Folder, failures: list[Failure]) -> Iterator[ClassifiedEntries]:
        """Yield the entries of a folder once. Raises Unlisted."""
        context, going = self._context, list[tuple[bytes, os.stat_result]]()
        path = self._path(folder)
        with ExitStack() as stack:
            names: Names | None = {}
            stages: list[bytes] = []
            dest = found = None
            try:
                if not folder.new:
                    with context.dest_latency.noted():
                        dest = context.dest.opened(folder.dest_dir)
                    stack.callback(os.close, dest)
                    found = os.fstat(dest)  # what is known from opening it; listing it changes its atime
                    names, stages = entries_of(dest)
                    stages = [stage for stage in stages if not context.in_use(stage)]
            except OSError as error:
                # What is there is not known, so nothing below is written.
                reason = f"cannot list its counterpart at the destination: {reason_of(error)}"
                raise Unlisted(Failure(path, reason)) from None
            try:
                with context.latency.noted():
                    source = context.source_tree(folder.source).opened(folder.source_dir)
                stack.callback(os.close, source)
                status = os.fstat(source)
                quiet = looked_at(folder, status, context.unchanged(folder.source))
                leaving = (status.st_dev, status.st_ino) in self._left_out
                merged = folder.dest_dir in self._merged
                if dest is not None and found is not None and context.options.directory_sync:
                    self.compare_folder(folder, source, dest, status, found)

                def failed(name: bytes, error: OSError) -> None:
                    failures.append(failure_of(child_path(path, name), error))

                alone = context.options.mirror and dest is not None
                beside = 0  # entries that both sides have
                own = self._how.astray is not None and self._how.astray(status.st_mtime_ns)
                mtime_ns = status.st_mtime_ns if self._end_of_time else None
                how = replace(self._how, plain=False) if leaving else self._how
                for some in slices(source, dest, names, how, failed, context.crowd):
                    if self._choose is not None:
                        self._choose(folder, some, source)
                    if how.plain and dest is not None:
                        self.equal.take(some, source, dest, folder.source)
                    left = leaving and self.leave_out(path, some)
                    listing = self._sorted(folder, some, source)
                    listing.open = listing.open or left
                    going += self._replaced(path, listing, dest, failures)
                    if mtime_ns is not None and context.options.directory_sync:
                        self._classifier.time(listing, path, mtime_ns, dest is not None)
                        mtime_ns = None
                    listing.sweeps, stages = stages, []
                    listing.open = listing.open or merged or own or not quiet or bool(failures)
                    if alone and dest is not None:
                        beside += some.beside
                        if not context.options.compare:
                            listing.extras += self._extras.to_make_way(folder, some, dest)
                    yield listing
                if alone and dest is not None:
                    for extras in only_in(dest, source, names, beside):
                        yield ClassifiedEntries(extras=self._extras.unclaimed(folder, extras, dest))
                for name, status in going:
                    note_replaced(context, join(folder.dest_dir, name), status)
            except OSError as error:
                raise Unlisted(failure_of(path, error, "cannot list")) from None

    def _replaced(
        self, path: bytes, listing: ClassifiedEntries, dest: int | None, failures: list[Failure]
    ) -> list[tuple[bytes, os.stat_result]]:
        """Return what goes at the destination, as directories in a listing take its place; or refuse them.

        path: of the directory that is listed, dest: its counterpart. Raises OSError.
        """
        found = [name for name, _, over in listing.folders if over]
        if not found or dest is None:
            return []
        if self._context.options.replaces_others:
            return [(name, status) for name in found if (status := lstat(name, dest)) is not None]
        failures += (in_its_place(self._context, child_path(path, name)) for name in found)
        listing.folders = [each for each in listing.folders if not each[2]]
        listing.refused = len(found)
        return []

    def _has_a_later(self, folder: Folder) -> bool:
        """Return whether a later source has a directory, too: it is that one's metadata that the copy gets."""
        context = self._context
        for index in range(folder.source + 1, len(context.job.sources)):
            source_dir = context.job.source_dir_of(index, folder.dest_dir)
            if source_dir is not None:
                with suppress(OSError), context.source_tree(index).at(source_dir):
                    return True
        return False

    def compare_folder(self, folder: Folder, source: int, dest: int, *known: os.stat_result) -> None:
        """Find out whether a folder's metadata is to be written to its counterpart; close that to others until then.

        known: the status of both, if it is. Raises OSError; Unlisted where its counterpart is not to be written to.
        """
        context = self._context
        wanted, found = known or (os.fstat(source), os.fstat(dest))
        letters = metadata.xattr_letters(*context.xattrs_of((source, b"."), (dest, b"."), folder.source))
        merged = folder.dest_dir in self._merged
        changes = metadata_changes(wanted, found, context.job.times, context.rights, letters)
        if not (changes or merged):
            return
        if not context.options.compare:
            try:
                if not (merged and self._has_a_later(folder)):
                    folder.trusted = close_to_others(context, wanted, folder.dest_dir, dest, "a" in letters)
            except PermissionError as error:
                path = child_path(context.job.sources[folder.source].path, folder.source_dir)
                raise Unlisted(Failure(path, reason_of(error))) from None
            folder.identity, folder.changes = identity(dest), changes.encode()
        folder.needs_metadata = True
