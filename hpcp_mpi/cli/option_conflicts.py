"""Combinations of options that are refused as meaningless or unsafe, each with the remedy; on rank 0."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from hpcp_mpi.cli.options_imaging import given_names
from hpcp_mpi.rules.contradictions import contradictions
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.request import Request, Verb

_DOES = {
    Verb.COPY: "this copies",
    Verb.REMOVE: "-rm without -d removes",
    Verb.LIST: "-fl writes a list",
    Verb.COMPARE: "-cfl, -dfl and -tdfl compare",
    Verb.IMAGE: "-di copies into an image",
    Verb.CLONE: "-dd clones a disk",
    Verb.PATCH: "-diff writes a patch",
    Verb.APPLY: "-siff applies patches",
}
_COPY, _REMOVE, _LIST, _COMPARE = Verb.COPY, Verb.REMOVE, Verb.LIST, Verb.COMPARE
_IMAGE, _CLONE, _PATCH, _APPLY = Verb.IMAGE, Verb.CLONE, Verb.PATCH, Verb.APPLY
# The verbs that an option is for, where not all are. Options for speed and output never harm, and are not here.
_MEANT_FOR = {
    "random_dest_selection": ("-rds", _COPY),
    "no_create_dir": ("-ncd", _COPY, _IMAGE),
    "target_file_system": ("-tfs", _COPY, _IMAGE),
    "exit_not_enough_space": ("-enes", _COPY, _IMAGE),
    "directory_only": ("-do", _COPY),
    "no_directory_sync": ("-nds", _COPY, _COMPARE),
    "content_only": ("-co", _COPY, _COMPARE),
    "strict_metadata": ("--strict-metadata", _COPY, _COMPARE, _IMAGE, _CLONE),
    "link_tracking": ("-lt", _COPY),
    "remove_extra": ("-rme", _COPY, _IMAGE),
    "remove": ("-rm", _COPY, _REMOVE),
    "backup_dir": ("--backup-dir", _COPY),
    "verify": ("--verify", _COPY, _IMAGE, _CLONE),
    "rate_limit": ("-L", _COPY, _IMAGE, _CLONE, _PATCH, _APPLY),
    "source_list": ("-sfl", _COPY, _COMPARE),
    "no_hash_file_list": ("-nhfl", _LIST, _COMPARE, _COPY),
    "dry_run": ("-n", _COPY, _REMOVE, _COMPARE, _IMAGE, _CLONE, _PATCH, _APPLY),
}
# What a message calls the options of `rules.contradictions`.
_CALLED = {
    "dest_path": "-d",
    "directory_only": "-do",
    "no_directory_sync": "-nds",
    "content_only": "-co",
    "strict_metadata": "--strict-metadata",
    "remove": "-rm",
    "remove_extra": "-rme",
    "random_dest_selection": "-rds",
    "hash_size": "-hs",
    "delete_excluded": "--delete-excluded",
    "null": "-0",
    "source_list": "-sfl",
    "file_list": "-fl",
    "tar_diff_file_list": "-tdfl",
}


def refuse(verb: Verb, given: Any) -> None:
    """Raise UsageError if the given options contradict each other. given: the parser's; its attributes are options."""
    for says, remedy in (*_of_another_verb(verb, given), *_in_pairs(given), *_of_files(given)):
        raise UsageError(says, remedy)


def refuse_with_status(given: Any) -> None:
    """Raise UsageError if options ask for more than to show a ledger, or its name is empty. given: the parser's"""
    if not given.status:
        raise UsageError("--status: the name of the ledger is empty", "hpcp-mpi --status LEDGER")
    lists = given.source_list is not None or given.file_list is not None
    if given.src_path or given.dest_path or lists or given_names(given):
        raise UsageError(
            "--status shows a ledger: it takes no sources and destinations",
            "hpcp-mpi --status LEDGER [--json FILE]",
        )
    if given.failed is not None:
        raise UsageError("--status only shows a ledger: --failed is for runs", "hpcp-mpi --status LEDGER [--json FILE]")
    if given.ledger is not None or given.resume:
        raise UsageError(
            "--status only shows a ledger: --ledger and --resume are for runs", "hpcp-mpi --status LEDGER [--json FILE]"
        )
    for says, remedy in _of_files(given):
        raise UsageError(says, remedy)


def landing_note(request: Request, habits: Sequence[str]) -> Iterator[str]:
    """Yield what is said to who thinks in words of rsync or cp, and names a directory without a `/` at its end.

    Their `src dst` is dst/src, ours the contents of src in dst. Raises UsageError for a mirror, which would remove what
    is beside dst/src. habits: the words of rsync or cp in the command line
    """
    if not habits or request.verb is not Verb.COPY or len(request.sources) != 1 or not request.destinations:
        return
    source, destination = request.sources[0], request.destinations[-1]
    if source.endswith((b"/", b"/.", b"/..")) or source in (b".", b"..") or destination.endswith(b"/"):
        return
    if not os.path.isdir(source):
        return
    src, dst = printable(source), printable(destination)
    theirs = f"{dst}/{os.path.basename(src)}"
    if request.options.mirror:
        raise UsageError(
            f"{habits[0]} with {src} {dst}: here this makes {dst} equal to {src}, in rsync {theirs}",
            f"Write {src}/ {dst} for the first, {src} {dst}/ for the second.",
        )
    if os.path.isdir(destination):
        yield f"the contents of {src} go into {dst}, not into {theirs} as with rsync and cp; for that, write {dst}/"


def _of_another_verb(verb: Verb, given: Any) -> Iterator[tuple[str, str]]:
    if given.max_delete is not None and not (given.remove_extra or given.remove or verb is _REMOVE):
        yield "--max-delete limits what -rm and -rme remove", "Give one of them, or leave it out."
    if given.accept_loss and not (given.remove and verb is _COPY):
        yield "--accept-loss says what a move (-rm with -d) removes", "Move, or leave it out."
    if given.no_hash_file_list and verb is _COPY and given.source_list is None:
        yield "-nhfl has no meaning here: there is no list", "Leave out -nhfl, or give -sfl."
    if verb is _COMPARE and len(given.dest_path or ()) > 1:
        yield "a compare is with one destination", "Give -d once."
    if verb is _COMPARE and given.source_list is not None and given.file_list is None:
        yield (
            "what a list names is not compared with a directory",
            "Compare the directory with the list: hpcp-mpi DIR -fl LIST -cfl.",
        )
    for attribute, (option, *verbs) in _MEANT_FOR.items():
        if getattr(given, attribute) and verb not in verbs:
            yield (
                f"{option} has no meaning here: {_DOES[verb]}",
                f"Leave out {option}, or the option that it contradicts.",
            )


def _in_pairs(given: Any) -> Iterator[tuple[str, str]]:
    destinations = given.dest_path or []
    yield from contradictions(given, _CALLED.__getitem__, lambda: any(map(glob.has_magic, destinations)))
    if given.remove and given.remove_extra and not destinations:
        yield "-rm with -rme: is the last path a destination, or to be removed too?", "Name the destination with -d."


def _of_files(given: Any) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for each conflict of the files that are read and written."""
    if given.file_list == given.source_list == "-":
        yield "standard input and output are one list each", "Give one of -fl and -sfl a file."
    if given.diff_file_list and os.path.isdir(given.diff_file_list):
        yield (
            f"-dfl would write its table to {given.diff_file_list}, which is a directory",
            "The word after -dfl is its FILE: put -dfl last, or write -dfl=FILE.",
        )
    if given.json == "-" and given.file_list == "-":
        yield "--json - and -fl - both are standard output", "Give one of them a file."
    if given.failed in ("", "-"):
        yield "--failed: names of files go to a file", "Name one."
    if given.json == "":
        yield "--json: the name of the file is empty", "Leave it out, or name a file; - is standard output."
    if given.ledger == "":
        yield "--ledger: the name of the file is empty", "Leave it out, or name a file."
    written = {
        "-fl": given.file_list,
        "-dfl": given.diff_file_list,
        "--json": given.json,
        "--failed": given.failed,
        "-sfl": given.source_list,
        "--ledger": given.ledger,
        "--status": given.status,
    }
    places: dict[str, str] = {}
    for option, name in written.items():
        if name and name != "-":
            place = name
            with suppress(OSError):  # the working directory was removed
                place = os.path.realpath(name)
            other = places.setdefault(place, option)
            if other != option:
                yield f"{other} and {option} name the same file: {name}", "Give each a file of its own."
