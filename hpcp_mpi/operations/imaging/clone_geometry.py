"""How the file systems of a clone are made: as those of the source are, or with what mkfs does by itself (-nfp)."""

from dataclasses import dataclass

from hpcp_mpi.operations.imaging.opening import Volume
from hpcp_mpi.operations.imaging.rules import sizes
from hpcp_mpi.operations.imaging.run import Imaging
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a file system of the clone is made after."""

    volume: Volume

    def made(self, size: int, need: Need) -> MakeFileSystem:
        """Return the file system of a partition of size bytes, in which a tree has room."""
        content = self.volume.content
        label = ("-L", content.label) if content.label else ()
        uuid = {"xfs": ("-m", f"uuid={content.uuid}"), "btrfs": ()}.get(content.type, ("-U", content.uuid))
        return MakeFileSystem(content.type, size, (*label, *uuid))

    def least(self, need: Need) -> int:
        """Return the bytes that a partition must have for a tree."""
        kind = self.volume.content.type
        return sizes.smallest("ext4" if kind.startswith("ext") else kind, need).bytes


def pattern_of(run: Imaging, volume: Volume) -> Pattern:
    """Return what the clone of a file system is made after. Raises FatalError."""
    return Pattern(volume)
