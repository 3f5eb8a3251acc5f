"""One tree in several images, none of which is bigger than a size (-dis): each can be mounted alone.

Files go where they would with several destinations: to the volume that has them, or the one that their names say;
directories to all. All volumes are made and checked before one of them gets its name.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.host.block.making import room_of
from hpcp_mpi.host.block.staging import Stage, Target, stage_of, target_at
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.copy.destinations.rank0 import lead_destinations
from hpcp_mpi.operations.copy.rank0 import lead_copy
from hpcp_mpi.operations.imaging.pack import volume as volumes
from hpcp_mpi.operations.imaging.pack.existing_image import ExistingImage, check_before, existing_image, opened_volume
from hpcp_mpi.operations.imaging.pack.new_image import (
    listed,
    measured,
    need_tools,
    refuse_meant_for_existing,
    result_of,
    wanted_type,
)
from hpcp_mpi.operations.imaging.pack.packed_sources import packed
from hpcp_mpi.operations.imaging.pack.parents import make_parents, settle_parents
from hpcp_mpi.operations.imaging.pack.room_watch import RESERVE, Expected, RoomWatch, free_outside, taken_by
from hpcp_mpi.operations.imaging.pack.volume import WritableVolume
from hpcp_mpi.operations.imaging.rules import sizes
from hpcp_mpi.operations.imaging.rules import volumes as rules
from hpcp_mpi.operations.imaging.run import Imaging, led
from hpcp_mpi.rules.excludes import matcher
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.options import MIB, Options
from hpcp_mpi.vocab.paths import child_path, printable
from hpcp_mpi.vocab.report import ImageResult, Report
from hpcp_mpi.vocab.request import Request, Verb
from hpcp_mpi.vocab.tally import Tally

_MOST = 80  # volumes of one run: each is a mount, or two
_LEAST = 64 * MIB
_TRIES = 5  # copies, each with a volume more than the one before
_HOMELESS = ("it fits on none of the destinations", "No space left on device")


@dataclass(slots=True)
class _Part:
    """One of the images. stage: of a new one; existing: what is brought up to date"""

    target: Target
    volume: WritableVolume
    stage: Stage | None = None
    existing: ExistingImage | None = None


def split(run: Imaging) -> Report:
    """Copy sources into as many images as are needed. Raises FatalError, UsageError, StoppedEarly."""
    if run.images.volume_size < _LEAST:
        raise UsageError("a volume of less than 64 MiB has no room for files", "Give a bigger size with -dis.")
    if run.options.verify:
        raise UsageError("--verify of several images (-dis) is not built", "Compare each by hand: -si, -cfl.")
    need_tools(run)
    with ExitStack() as stack:
        try:
            return _Split(run, stack).report()
        except Stopped:
            raise StoppedEarly(run.frontend.stop.code, run.frontend.stop.name) from None


class _Split:
    """One run that spreads a tree over images. stack: what is undone at its end."""

    def __init__(self, run: Imaging, stack: ExitStack) -> None:
        self._run, self._stack = run, stack
        self._began = time.monotonic()
        self._targets = self._found()
        if self._targets[0].status is None:
            refuse_meant_for_existing(run)
        self._packed = packed(run, self._targets[0])
        own = frozenset((each.status.st_dev, each.status.st_ino) for each in self._targets if each.status is not None)
        self._packed = self._packed.without(own)
        self._parts: list[_Part] = []
        self._need = measured(run, self._packed)
        self._size = run.images.volume_size
        self._type = wanted_type(run, self._need, self._size)

    def _target(self, number: int) -> Target:
        return self._stack.enter_context(target_at(rules.volume_name(self._run.images.image, number)))

    def _found(self) -> list[Target]:
        """Return the places of the volumes that are there, and of the first one that is not. Raises FatalError."""
        targets = [self._target(0)]
        while targets[-1].status is not None and len(targets) <= _MOST:
            targets.append(self._target(len(targets)))
        further = self._target(len(targets))
        if further.status is not None:
            raise FatalError(
                f"{printable(targets[-1].given)} is missing, and {printable(further.given)} is there",
                "Put it back, or name another image: a volume in the middle would be made anew without its files.",
            )
        return targets

    def report(self) -> Report:
        """Do it. Raises FatalError, Stopped."""
        run, there = self._run, [each for each in self._targets if each.status is not None]
        each = self._capacity()
        if run.options.dry_run:
            return self._planned(len(there), each)
        try:
            for target in there:
                self._parts.append(self._opened(target))
            for _ in range(self._missing(each)):
                self._add()
            report = self._filled()
            return self._ended(report)
        finally:
            for part in self._parts:
                if part.stage is not None:
                    part.stage.remove()

    # --- how many

    def _capacity(self) -> int:
        """Return the bytes of data that a new volume holds. Raises FatalError if a file or the tree fits in none."""
        need = replace(rules.share(self._need, 2), blocks=0, data=0)
        each = rules.capacity(self._type, self._size, need)
        if rules.usable(each) <= 0:
            raise FatalError(
                f"a volume of {self._size:,} bytes has no room for {self._need.directories:,} directories, which all "
                "volumes have",
                "Give a bigger size with -dis.",
            )
        size, path = self._biggest()
        if size > each:
            raise FatalError(
                f"{printable(path)} takes {size:,} bytes, and a volume of {self._size:,} holds {each:,}",
                "Give a bigger size with -dis, or leave it out (-e). Nothing was made.",
            )
        return each

    def _biggest(self) -> tuple[int, bytes]:
        """Return the bytes and the path of the file that takes most."""
        excluded = matcher(self._packed.options.all_excludes) or (lambda path, is_directory: False)
        best = (0, b"")
        for path, status in _files(listed(self._packed), excluded):
            if (status.st_dev, status.st_ino) not in self._packed.options.left_out:
                best = max(best, (min(status.st_size, status.st_blocks * 512), path))
        return best

    def _missing(self, each: int) -> int:
        """Return how many volumes are to be made. Raises FatalError."""
        data, directories = self._need.blocks, self._need.directory_blocks
        there = [max(0, room_of(part.volume.mount, part.volume.type).bytes - directories) for part in self._parts]
        if there:
            data = self._new_data()
        count = rules.how_many(data, there, each) if data or not there else 0
        if count < 0 or count + len(there) > _MOST:
            raise FatalError(
                f"{count + len(there):,} volumes of {self._size:,} bytes would be needed, and {_MOST} are the most",
                "Give a bigger size with -dis.",
            )
        outside = free_outside(self._targets[-1].directory if not self._parts else self._parts[0].volume.fd)
        if outside is not None and outside < data + RESERVE:
            raise FatalError(
                f"the volumes would take {data:,} bytes, and their file system has {outside:,} left, of which "
                f"{RESERVE // MIB} MiB have to stay free",
                "Make room, or name another place.",
            )
        return count

    def _new_data(self) -> int:
        """Return the bytes of what the volumes that are there do not have."""
        options = replace(self._packed.options, dry_run=True, itemize=False, hash_size=0, mirror=False)
        frontend = self._run.frontend
        self._run.frontend = replace(frontend, items=None)
        try:
            report = self._copy(options)
        finally:
            self._run.frontend = frontend
        copied = report.outcome.copied
        return min(self._need.blocks, copied.bytes + 4096 * copied.files)

    # --- the volumes

    def _opened(self, target: Target) -> _Part:
        """Return a volume that is there, mounted for writing. Raises FatalError."""
        existing = self._stack.enter_context(existing_image(self._run, target, writable=True))
        check_before(self._run, existing)
        return _Part(target, opened_volume(self._run, existing), existing=existing)

    def _add(self) -> None:
        """Make one more volume. Raises FatalError, Stopped."""
        number = len(self._parts)
        target = self._targets[number] if number < len(self._targets) else self._target(number)
        stage = stage_of(target)
        try:
            self._run.frontend.say(f"hpcp-mpi: making {printable(target.given)}: {self._type}, {self._size:,} bytes")
            count = max(2, -(-self._need.blocks // max(1, self._size)))
            images = self._run.images
            what = sizes.of_size(
                self._type, self._size, rules.share(self._need, count), images.label, images.mkfs_options
            )
            stage.empty(self._size)
            volume = volumes.new_volume(self._run, stage.fd, what, target.given)
        except BaseException:
            stage.remove()
            raise
        self._parts.append(_Part(target, volume, stage=stage))
        self._packed = self._packed.without(frozenset({stage.identity}))

    # --- copying

    def _copy(self, options: Options | None = None) -> Report:
        packed = self._packed
        asked = packed.options if options is None else options
        for part in self._parts:
            asked = replace(asked, left_out=asked.left_out | volumes.recovered(part.volume.mount))
        request = Request(
            Verb.COPY,
            packed.sources,
            tuple(part.volume.mount for part in self._parts),
            replace(asked, places=packed.places),
            force=self._run.request.force,
        )
        return led(self._run, request, lead_destinations if len(self._parts) > 1 else lead_copy)

    def _filled(self) -> Report:
        """Return the report of the copy into all volumes, of which one more is made for what found no room."""
        for _ in range(_TRIES):
            for part in self._parts:
                make_parents(part.volume.mount, self._packed.parents, part.target.given)
            with ExitStack() as watches:
                watched = [
                    watches.enter_context(
                        RoomWatch(part.volume, Expected(), False, self._run.frontend.stop, taken_by(part.volume))
                    )
                    for part in self._parts
                ]
                report = self._copy()
            for watch in watched:
                watch.refuse_full()
            homeless = any(reason in each.reason for each in report.failures for reason in _HOMELESS)
            if report.ended_early or not homeless or len(self._parts) >= _MOST:
                break
            self._add()
        if not report.ended_early:
            for part in self._parts:
                report.outcome.failures += settle_parents(part.volume.mount, self._packed.parents, part.target.given)
        self._packed.fill(report)
        return report

    def _ended(self, report: Report) -> Report:
        """Unmount and check all volumes, give new ones their names; return the report. Raises FatalError, Stopped."""
        run = self._run
        for part in self._parts:
            if part.stage is not None and not report.ended_early:
                volumes.trimmed(part.volume)
            volumes.close(run, part.volume)
        if report.ended_early:
            if any(part.stage is not None for part in self._parts):
                report.outcome.warn(run.images.image, "no new volume is left: the same command makes them anew")
            return report
        for part in self._parts if run.images.check else ():
            called = part.target.given
            run.frontend.say(f"hpcp-mpi: checking {printable(called)}")
            where = (part.existing.offset, part.existing.size) if part.existing is not None else (0, 0)
            wrong = volumes.checked(run, part.volume.fd, part.volume.type, called, *where)
            if wrong:
                raise FatalError(f"{printable(called)}: its check found errors: {wrong}", "Is its disk good?")
        for part in self._parts:
            if part.stage is not None:
                part.stage.publish()
        for part in self._parts:
            report.images.append(result_of(part.target, "made" if part.stage is not None else "updated", self._began))
        return report

    def _planned(self, there: int, each: int) -> Report:
        """Return the report of a dry run, which looks at the sources only."""
        need, run = self._need, self._run
        count = rules.how_many(need.blocks, [], each)
        images = "1 image" if count == 1 else f"{count:,} images"
        run.frontend.say(
            f"hpcp-mpi: about {images} of {self._size:,} bytes, {self._type}, for {need.entries:,} entries with "
            f"{need.data:,} bytes; {there:,} are there"
        )
        scanned = Tally(need.files, need.directories, need.symlinks, need.others, need.data)
        report = Report(sources=list(self._packed.sources), destination=run.images.image, dry_run=True, scanned=scanned)
        report.outcome.copied = scanned
        self._packed.fill(report)
        for number in range(there, max(count, there)):
            name = rules.volume_name(run.images.image, number)
            report.images.append(ImageResult(name, "made", self._size, None, self._type, run.images.label))
        return report


def _files(sources: Sequence[bytes], excluded: Callable[[bytes, bool], bool]) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield the regular files of sources, with their status. What cannot be listed is named by the copy."""
    for source in sources:
        tree: Iterable[tuple[bytes, list[bytes], list[bytes]]] = os.walk(source)
        if os.path.islink(source) or not os.path.isdir(source):
            tree = [(os.path.dirname(source), [], [os.path.basename(source)])]
        for directory, folders, names in tree:
            folders[:] = [each for each in folders if not excluded(child_path(directory, each), True)]
            for path in (child_path(directory, name) for name in names):
                with suppress(OSError):
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode) and not excluded(path, False):
                        yield path, status
