"""The options for what is done, in groups as `hpcp-mpi --help` shows them; those for how are in `options_how`.

A long option is written here as the help shows it, with `-`. It is accepted with `_`, too, as hpcp writes it.
"""

from typing import Any, Protocol

from hpcp_mpi.cli.amounts import at_least


class Group(Protocol):
    """The options under one heading."""

    def add(self, *names: str, **settings: Any) -> None:
        """Add an option, as argparse's add_argument. A `type` may raise ValueError with a message for the user.

        complete: the kind of values that a shell completes, "file" or "directory"
        """

    def either(self) -> "Group":
        """Return a group of options that exclude each other."""


class Parser(Protocol):
    """A parser to which groups of options are added."""

    def group(self, title: str) -> Group: ...


def add_places(parser: Parser) -> None:
    places = parser.group("sources and destinations")
    add = places.add
    add(
        "src_path",
        nargs="*",
        metavar="SRC",
        complete="file",
        help="files and directories; a pattern is expanded if nothing has its name",
    )
    add(
        "-d",
        "-C",
        "--dest-path",
        action="append",
        metavar="DST",
        complete="directory",
        help="the destination (default: the last SRC); given several times, files are spread over them by free space",
    )
    add(
        "-rds",
        "--random-dest-selection",
        action="store_true",
        help="spread files over several destinations at random",
    )
    add(
        "-ncd",
        "--no-create-dir",
        action="store_true",
        help="skip destinations that do not exist",
    )
    add(
        "-tfs",
        "--target-file-system",
        default="",
        metavar="TYPE",
        help="refuse a destination on another type of file system than this (ext4, xfs, lustre, ...)",
    )
    add(
        "-enes",
        "--exit-not-enough-space",
        action="store_true",
        help="stop when the destination is known to lack space; copies made so far stay (default: a warning)",
    )
    batch = places.either()
    batch.add("-b", "--batch", action="store_true", help="one plan over all sources (accepted; always on)")
    batch.add(
        "-nb",
        "--no-batch",
        "--sequential",
        dest="no_batch",
        action="store_true",
        help="one source after the other",
    )


def add_selection(parser: Parser) -> None:
    selection = parser.group("selection")
    add = selection.add
    add(
        "-e",
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="exclude what matches: at any depth without a leading /, directories with one at the end; * matches / too",
    )
    add(
        "-x",
        "--exclude-file",
        "--exclude-from",
        action="append",
        default=[],
        metavar="FILE",
        complete="file",
        help="read patterns from FILE, # starts a comment",
    )
    add(
        "-eo",
        dest="exclude_optional",
        action="append",
        default=[],
        metavar="PATTERN",
        help="as -e; PATTERN may match nothing",
    )
    add(
        "-xo",
        dest="exclude_file_optional",
        action="append",
        default=[],
        metavar="FILE",
        complete="file",
        help="as -x; all patterns may match nothing",
    )
    add(
        "-sfl",
        "-lfl",
        "--source-file-list",
        dest="source_list",
        metavar="FILE",
        complete="file",
        help="copy only the names in FILE (-: standard input), relative to SRC or to the working directory; "
        "names keep their place below DST",
    )
    add("-do", "--directory-only", action="store_true", help="only directories, with their metadata")
    add("-nds", "--no-directory-sync", action="store_true", help="do not set the metadata of directories")
    add("-co", "--content-only", action="store_true", help="only content: no modes, owners, times or attributes")
    add(
        "--strict-metadata",
        action="store_true",
        help="what the destination cannot store of attributes, ACLs and times is a failure, and a difference "
        "(default: a note, and equal)",
    )
    links = selection.either()
    links.add(
        "-lt",
        "--link-tracking",
        action="store_true",
        help="copy what relative symlinks point to, also to places outside the destination "
        "(default: only inside it, where nothing is there)",
    )
    links.add("-nlt", "--no-link-tracking", action="store_true", help="never copy what symlinks point to")
    add("-n", "--dry-run", action="store_true", help="dry run: only list the changes, as rsync -n -i")


def add_removal(parser: Parser) -> None:
    removal = parser.group("removal")
    add = removal.add
    add(
        "-rm",
        "--remove",
        action="store_true",
        help="remove every SRC; with -d, move: remove what has a checked copy",
    )
    add(
        "-rme",
        "--remove-extra",
        "--delete",
        action="store_true",
        help="mirror: after copying, remove destination entries that no source has",
    )
    add(
        "-rf",
        "--remove-force",
        action="count",
        default=0,
        help="remove without confirmation; -rm if there is one SRC alone; twice: also if an exclude matched nothing",
    )
    add(
        "-rwloff",
        "--do-not-remove-files-while-listing",
        action="store_true",
        help="list a directory before removing anything in it (accepted; always on)",
    )
    add(
        "--max-delete",
        type=at_least(0, int),
        metavar="N",
        help="remove nothing if more than N entries were to be removed (default: no limit)",
    )
    add(
        "--accept-loss",
        action="store_true",
        help="with -rm and -d, remove what has a whole copy also if that lacks owner, mode, ACLs or attributes "
        "(default: keep and name it)",
    )
    add(
        "--backup-dir",
        default="",
        metavar="DIR",
        complete="directory",
        help="move entries to DIR instead of removing or replacing them; a relative DIR is below the destination",
    )
    add(
        "--delete-excluded",
        action="store_true",
        help="with -rme, remove excluded entries from the destination, too (default: keep them)",
    )


def add_lists(parser: Parser) -> None:
    lists = parser.group("file lists and comparison")
    add = lists.add
    add(
        "-fl",
        "-tfl",
        "--target-file-list",
        dest="file_list",
        metavar="FILE",
        complete="file",
        help="write a list of what the sources hold to FILE (-: standard output), and copy nothing; "
        "with -cfl: compare with that list",
    )
    add(
        "-nhfl",
        "--no-hash-file-list",
        action="store_true",
        help="names only, without hashes and link targets",
    )
    add("-0", "--null", action="store_true", help="lists are plain names, each ended by NUL")
    add(
        "-cfl",
        "--compare-file-list",
        action="store_true",
        help="compare the sources with DST, or with the list of -fl; nothing is written. Exit code 3: they differ",
    )
    add(
        "-dfl",
        "--diff-file-list",
        nargs="?",
        const="",
        metavar="FILE",
        complete="file",
        help="compare, and write a table of the differences to FILE (default: a name made of what is compared)",
    )
    add(
        "-tdfl",
        "--tar-diff-file-list",
        action="store_true",
        help="as -dfl, but only the names of what is added or modified, for tar -T",
    )
