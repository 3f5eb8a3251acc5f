"""How the file systems of a clone are made: as those of the source are, or with what mkfs does by itself (-nfp)."""

from dataclasses import dataclass

from hpcp_mpi.operations.imaging.rules import likeness
from hpcp_mpi.operations.imaging.rules.geometry import Geometry
from hpcp_mpi.vocab.image_options import MakeFileSystem, Need


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a file system of the clone is made after. mirrored: its geometry too, and not only label and UUID"""

    geometry: Geometry
    mirrored: bool
    room: int  # bytes of the source's partition

    def made(self, size: int, need: Need) -> MakeFileSystem:
        """Return the file system of a partition of size bytes, in which a tree has room. Raises FatalError.

        One that did not fill its partition does not fill one of the same size either.
        """
        bytes = min(self.geometry.size, size) if size == self.room and self.geometry.size else size
        made = likeness.made_like if self.mirrored else likeness.made_plain
        return made(self.geometry, bytes, need)

    def least(self, need: Need) -> int:
        """Return the bytes that a partition must have for a tree."""
        least = likeness.smallest_like if self.mirrored else likeness.smallest_plain
        return least(self.geometry, need)
