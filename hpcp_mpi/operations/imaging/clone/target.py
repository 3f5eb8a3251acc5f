"""The disk that becomes a clone: a whole block device that is held, or an image file that gets its name at the end."""

import os
import stat
from dataclasses import dataclass

from hpcp_mpi.host.block import devices, raw, table_writing
from hpcp_mpi.host.block.gpt import SIGNATURE
from hpcp_mpi.host.block.loops import attach
from hpcp_mpi.host.block.probing import content_of, found_table
from hpcp_mpi.host.block.staging import Identity, Stage, Target, identity, refuse_attached, stage_of, target_at
from hpcp_mpi.host.commands import answer_of
from hpcp_mpi.operations.imaging.clone.source import Source
from hpcp_mpi.operations.imaging.rules.table import BOOT_CODE, MIB, boot_gap, shown_partition
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.errors import FatalError, UsageError
from hpcp_mpi.vocab.image_options import Partition, Table
from hpcp_mpi.vocab.paths import in_one_line, printable

_YES = "Add --yes to overwrite without a question; -rf does not stand for it. See what would be done with -n."


@dataclass(slots=True)
class CloneTarget:
    """Where the clone goes. fd: -1 of an image that is not begun; device: None of an image"""

    path: bytes  # as it was given
    fd: int = -1
    device: devices.Device | None = None
    image: Target | None = None
    stage: Stage | None = None
    goes_on: bool = False  # what an earlier run of the same command has made may be there

    @property
    def sectors(self) -> int | None:
        """How many sectors the disk has; None: an image, which is made as big as it must be."""
        return self.device.size // self.device.sector if self.device is not None else None

    @property
    def is_zero(self) -> bool:
        """Whether what was not written yet is zero: in a new image."""
        return self.image is not None and not self.goes_on

    @property
    def left_out(self) -> frozenset[Identity]:
        """What shows an image, what it takes the place of, and their directory, where they lie in the source."""
        if self.image is None:
            return frozenset()
        found = {identity(os.fstat(self.image.directory))}
        found |= {identity(self.image.status)} if self.image.status is not None else set()
        found |= {self.stage.identity} if self.stage is not None and self.stage.is_open else set()
        return frozenset(found)

    def begin(self, size: int, used: tuple[int, int]) -> None:
        """Have an open file or device of that size, whose first and last MiB are zero. Raises FatalError.

        used: where the partitions begin and end: of what an earlier run has begun, they may be complete
        """
        if self.image is not None:
            self.stage = stage_of(self.image)
            self.fd = self.stage.fd
            self.goes_on = self.stage.kept and os.fstat(self.fd).st_size == size
            if not self.goes_on:
                self.stage.empty(size)
        else:
            self.goes_on = self._is_unfinished()
        if not self.is_zero:
            first, last = used if self.goes_on else (MIB, size - MIB)
            raw.write_zeros(self.fd, 0, min(first, MIB, size), self.path)
            last = max(last, size - MIB, 0)
            raw.write_zeros(self.fd, last, size - last, self.path)
            raw.stored(self.fd, self.path)

    def _is_unfinished(self) -> bool:
        """Return whether a device has neither table nor file system: a clone that was not finished."""
        node = b"/proc/self/fd/%d" % self.fd
        assert self.device is not None
        try:
            # Tools see no backup of a GPT that has lost all the rest; what we begin has none.
            backup = os.pread(self.fd, len(SIGNATURE), self.device.size - self.device.sector) == SIGNATURE
            if backup or found_table(node, (self.fd,), self.path) is not None:
                return False
            content = content_of(node, (self.fd,))
        except (FatalError, OSError):
            return False
        return not content.type and not content.several

    def wipe(self, offset: int, size: int) -> None:
        """Overwrite where signatures of what was in a range before may lie. Raises FatalError."""
        if not self.is_zero:
            self._zero_ends(offset, size)

    def _zero_ends(self, offset: int, size: int) -> None:
        first = min(MIB, size)
        raw.write_zeros(self.fd, offset, first, self.path)
        last = min(MIB, size - first)
        raw.write_zeros(self.fd, offset + size - last, last, self.path)

    def write_table(self, source: Source, table: Table, as_before: bool) -> None:
        """Write boot code, then the table. Raises FatalError. as_before: nothing has another place or size"""
        _copy_boot_code(source, self.fd, self.path)
        raw.stored(self.fd, self.path)
        table_writing.write(self.fd, table, self.path)
        if source.found.hybrid and as_before:
            first = os.pread(source.image.fd, 512, 0)
            raw.write_bytes(self.fd, BOOT_CODE, first[BOOT_CODE:], self.path)
        raw.stored(self.fd, self.path)
        self._verify()

    def _verify(self) -> None:
        path = b"/proc/self/fd/%d" % self.fd
        if self.device is None and self.stage is not None and self._sector() != 512:
            return  # write() has read it back
        answer = answer_of(["sfdisk", "--verify", path], descriptors=(self.fd,))
        if answer.code:
            raise FatalError(f"the new table of {printable(self.path)} is wrong: {in_one_line(answer.words)}")

    def _sector(self) -> int:
        return 4096 if os.pread(self.fd, 8, 4096) == SIGNATURE else 512

    def publish(self) -> str:
        """Give an image its name; have the kernel see the partitions of a device. Raises FatalError.

        Returns why the kernel does not see them.
        """
        if self.stage is not None and self.image is not None:
            self.stage.publish(self.image.status)
            return ""
        return devices.reread_table(self.fd)


def _copy_boot_code(source: Source, fd: int, path: bytes) -> None:
    """Copy what is before the table, and in front of the first partition of an MBR."""
    gap = boot_gap(source.table)
    content = os.pread(source.image.fd, gap, 0)
    raw.write_bytes(fd, 0, content[:BOOT_CODE], path)
    if len(content) > 512:
        raw.write_bytes(fd, 512, content[512:], path)


def target_of(run: Imaging, source: Source) -> CloneTarget:
    """Return the destination, held if it is a device. Raises FatalError for one that cannot be, UsageError."""
    path = run.images.image
    try:
        is_device = stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        is_device = False
    found = _device_target(run, source, path) if is_device else _image_target(run, source, path)
    asking = found.device is not None or (found.image is not None and found.image.status is not None)
    if asking and not run.images.yes and not run.options.dry_run:
        run.frontend.expect_name(f"{printable(path)} would be overwritten, and there is no terminal to ask on", _YES)
    return found


def _device_target(run: Imaging, source: Source, path: bytes) -> CloneTarget:
    if source.image.is_device and os.stat(path).st_rdev == os.fstat(source.image.fd).st_rdev:
        raise _is_source(path)
    fd = devices.opened_exclusively(path)
    run.stack.callback(os.close, fd)
    device = devices.device_of(fd, path)
    if source.image.is_device and device.disk == devices.device_of(source.image.fd, source.image.path).disk:
        raise _is_source(path)
    if device.sector != source.table.sector:
        raise FatalError(
            f"{printable(path)} has sectors of {device.sector} bytes, and {printable(source.image.path)} of "
            f"{source.table.sector}: its table and boot code would mean other places there",
            "Name a disk with the same sectors, or an image.",
        )
    return CloneTarget(path, fd, device)


def _image_target(run: Imaging, source: Source, path: bytes) -> CloneTarget:
    image = run.stack.enter_context(target_at(path))
    status = image.status
    if status is not None:
        if not stat.S_ISREG(status.st_mode):
            raise FatalError(f"{printable(path)} is neither a file nor a block device", "Name a disk or an image.")
        mine = os.fstat(source.image.fd)
        if (status.st_dev, status.st_ino) == (mine.st_dev, mine.st_ino):
            raise _is_source(path)
        refuse_attached(status, path)
    return CloneTarget(path, image=image)


def _is_source(path: bytes) -> FatalError:
    return FatalError(f"{printable(path)} is the disk that is to be cloned", "Name another destination.")


def ask(run: Imaging, target: CloneTarget) -> bool:
    """Return whether what is there may be overwritten. Raises UsageError where nobody can answer, StoppedEarly."""
    if run.images.yes:
        return True
    shown = printable(target.path)
    if target.device is None:
        if target.image is None or target.image.status is None:
            return True
        answer = run.frontend.confirm_doubt(f"{shown} is there ({target.image.status.st_size:,} bytes): replace it?")
    else:
        for line in _described(target):
            run.frontend.warn(f"hpcp-mpi: {line}")
        answer = run.frontend.confirm_named(f"all that is on {shown} will be lost.", shown)
    if answer is None:
        raise UsageError(f"{shown} would be overwritten, and there is no terminal to ask on", _YES)
    return answer


def _described(target: CloneTarget) -> list[str]:
    """Return what a disk is and holds, as lines."""
    device = target.device
    assert device is not None
    who = f"{device.model or 'no model'}, serial {device.serial or 'unknown'}"
    lines = [f"{printable(target.path)} will be overwritten: {who}, {device.size:,} bytes"]
    node, descriptors = b"/proc/self/fd/%d" % target.fd, (target.fd,)
    try:
        found = found_table(node, descriptors, target.path)
    except FatalError as error:
        return [*lines, f"  its table: {error.message}"]
    if found is None:
        content = content_of(node, descriptors)
        return [*lines, f"  not partitioned; holds {_what(content.type, content.label)}"]
    lines.append(f"  its table: {found.table.label}, {found.table.id}")
    sector = found.table.sector
    for each in found.table.partitions:
        lines.append(f"  {shown_partition(each)}: {each.size * sector:,} bytes, {_inside(target, each, sector)}")
    return lines


def _inside(target: CloneTarget, partition: Partition, sector: int) -> str:
    """Return what is in a partition of the disk that is overwritten."""
    try:
        with attach(target.fd, False, partition.start * sector, partition.size * sector, name=target.path) as loop:
            content = content_of(loop.path)
    except FatalError:
        return "which cannot be read"
    return _what(content.type, content.label)


def _what(kind: str, label: str) -> str:
    return f"{kind or 'nothing known'} {printable(os.fsencode(label))}".strip()
