"""The request of a command line: verb, paths, lists and options. Only rank 0 has it; it makes the job of it."""

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from hpcp_mpi.vocab.options import Options

if TYPE_CHECKING:
    from hpcp_mpi.vocab.image_options import ImageOptions


class Verb(Enum):
    COPY = "copy"  # also mirrors and moves
    REMOVE = "remove"
    LIST = "list"
    COMPARE = "compare"
    IMAGE = "image"  # copies into an image
    CLONE = "clone"  # of a disk
    PATCH = "patch"  # writes one
    APPLY = "apply"  # applies patches


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the program. Paths are as they were given."""

    verb: Verb
    sources: tuple[bytes, ...]  # with source_list: none, or what its names are relative to
    destinations: tuple[bytes, ...] = ()
    options: Options = field(default_factory=Options)
    source_list: bytes | None = None  # a file that names what to take; b"-": standard input
    file_list: bytes | None = None  # the file list to write; of a compare: the one to compare with
    hashes: bool = True  # in file lists
    nul: bool = False  # lists are plain names, each ended by NUL
    changes_file: bytes | None = None  # the table of changes to write; b"": named after sources and destination
    tar_list: bool = False  # as names for `tar -T` instead
    random_destinations: bool = False  # instead of the one with the most free space
    force: bool = False  # no questions
    patterns: bool = False  # destinations may be patterns: those of -d, as in hpcp. Else a name is taken as it is
    images: "ImageOptions | None" = None  # None: no image has to do with it


class Style(Enum):
    """The style of a list: what it holds of each entry."""

    HASHES = "hashes"  # a line each; also what links and special files are
    NAMES = "names"  # a line each
    NUL = "nul"  # names, each ended by NUL

    @property
    def end(self) -> bytes:
        """What ends every entry."""
        return b"\0" if self is Style.NUL else b"\n"


def style_of(asked: Request) -> Style:
    """Return the style of the lists of a run."""
    return Style.NUL if asked.nul else Style.HASHES if asked.hashes else Style.NAMES
