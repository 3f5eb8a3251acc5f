"""The options of a run: one frozen object, made by rank 0, sent to every rank."""

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

DEFAULT_HASH_SIZE = 64 * KIB  # bytes; hpcp's
DEFAULT_CHUNK_SIZE = 512 * MIB  # bytes of weight
DEFAULT_CHUNK_FILES = 8000  # so many files weigh a chunk, however small they are
DEFAULT_CHUNK_SECONDS = 2.0  # of one slot
DEFAULT_SPLIT_SIZE = 256 * MIB  # bytes


@dataclass(frozen=True, slots=True, repr=False)
class Options:
    """How to copy. Defaults are the command line's."""

    hash_size: int = DEFAULT_HASH_SIZE  # bytes compared at a file's end; 0: none
    full_hash: bool = False  # compare whole files; wins over hash_size
    modify_window: float = 0.0  # seconds; mtimes nearer than this are equal
    excludes: tuple[bytes, ...] = ()  # hpcp's patterns, as given
    optional_excludes: tuple[bytes, ...] = ()  # the same; they may match nothing
    certain: bool = False  # nobody is asked before something is removed; rank 0 sets it
    unmatched_excludes: bool = False  # removals are certain although a pattern may match nothing
    directory_only: bool = False
    directory_sync: bool = True  # give directories their metadata
    sparse: str = "auto"  # cp's: auto, always, never
    reflink: str = "auto"  # cp's
    slots: int | None = None  # per rank; None: from the CPUs, 0 half of them, -n n times as many
    single: bool = False  # one slot of one rank works
    chunk_size: int = DEFAULT_CHUNK_SIZE  # bytes of weight
    chunk_files: int = DEFAULT_CHUNK_FILES
    chunk_seconds: float = DEFAULT_CHUNK_SECONDS  # that a chunk is to last
    parallel_listing: bool | None = None  # all ranks list, not rank 0 alone; None: if the destination holds something
    split_size: int = DEFAULT_SPLIT_SIZE  # bytes; heavier files are copied in ranges of this size. 0: never
    io_size: int = 0  # bytes read at once of a range; 0: the file system's block size, 4 MiB at least
    drop_cache: bool = False  # forget the pages of sources that were read for the copy
    content_only: bool = False  # no metadata at all, as `cp -f`
    strict_metadata: bool = False  # what the destination cannot store of metadata is a failure, and differs
    links: str = "inside"  # what relative links point to is copied too: inside the destination, anywhere, never
    mirror: bool = False  # remove what the sources do not have
    delete_excluded: bool = False  # of the destination's entries that are excluded, too
    max_delete: int | None = None  # remove nothing if it were more entries
    backup_dir: bytes = b""  # what would be removed or replaced is moved here; relative: below the destination
    move: bool = False  # remove from the sources what has a copy that is known good
    accept_loss: bool = False  # of a move: sources go though their copies lack metadata
    verify: bool = False  # read every copy again, somewhere else
    rate_bytes: int = 0  # per second, all ranks together; 0: no limit
    rate_files: int = 0
    command_timeout: float = 0.0  # seconds that one cp may take; 0: no limit
    make_destination: bool = True
    file_system: str = ""  # that the destination has to be; "": any
    require_space: bool = False  # end if the destination has less room than is needed, instead of a warning
    sequential: bool = False  # one source after the other
    heartbeat_timeout: float = 60.0  # seconds after which a rank that is silent is taken for lost
    sync_ranges: bool = False  # ranges of big files are stored before they are called done: a ledger remembers them
    dry_run: bool = False
    compare: bool = False  # a dry run that also says what makes room for another type, and probes nothing
    itemize: bool = False  # say of every entry what was done
    # Where each source lands, relative to the destination; None: as the command line says. A directory's contents land.
    places: tuple[bytes, ...] | None = None
    # (device, inode), as rank 0 sees them, of what is neither copied nor extra, and of the directories that this is in.
    left_out: frozenset[tuple[int, int]] = frozenset()
    grows: bool = False  # the destination is an image: it gets bigger when it is full, so its room says nothing

    def __repr__(self) -> str:
        """Return the fields that are not the defaults."""
        given = (
            f"{each.name}={value!r}" for each in fields(self) if (value := getattr(self, each.name)) != each.default
        )
        return f"Options({', '.join(given)})"

    @property
    def replaces_others(self) -> bool:
        """Whether a directory takes the place of what is none: that is removed, or kept in the backup directory.

        It goes while the run copies: before a mirror asks, and before it counts what --max-delete limits.
        """
        certain = self.max_delete is None and (self.certain or self.dry_run)
        return bool(self.backup_dir) or self.compare or (self.mirror and certain)

    @property
    def all_excludes(self) -> tuple[bytes, ...]:
        """All patterns; those that have to match something are the first ones."""
        return self.excludes + self.optional_excludes

    @property
    def file_cost(self) -> int:
        """What a file weighs beside its bytes: chunk_files empty files are one chunk."""
        return max(1, self.chunk_size // max(1, self.chunk_files))

    @property
    def bite_weight(self) -> int:
        """The most that one `cp` is given to do: a quarter of a chunk, so that a thief can take the rest of one."""
        return max(1, self.chunk_size // 4)

    @property
    def unit_weight(self) -> int:
        """The heaviest subtree that is one unit, which cannot be divided any more."""
        return max(1, self.chunk_size // 16)
