"""The request that a function of the API and its keywords stand for, on rank 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcp_mpi.api import values
from hpcp_mpi.api.command import words
from hpcp_mpi.api.values import Converter
from hpcp_mpi.operations.prepare.tools import exclude_lines
from hpcp_mpi.rules.contradictions import contradictions
from hpcp_mpi.rules.excludes import refuse as refuse_patterns
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.request import Request, Verb

_VERBS = {
    "copy": Verb.COPY,
    "mirror": Verb.COPY,
    "move": Verb.COPY,
    "compare": Verb.COMPARE,
    "verify": Verb.COMPARE,
    "list_files": Verb.LIST,
    "remove": Verb.REMOVE,
}
_WHEN = values.choice("auto", "always", "never")
# By keyword: the field of Options that it sets, and what its value may be.
OPTIONS: dict[str, tuple[str, Converter]] = {
    "hash_size": ("hash_size", values.size),
    "full_hash": ("full_hash", values.flag),
    "modify_window": ("modify_window", values.seconds(0)),
    "unmatched_excludes": ("unmatched_excludes", values.flag),
    "directory_only": ("directory_only", values.flag),
    "no_directory_sync": ("directory_sync", values.denied),
    "sparse": ("sparse", _WHEN),
    "reflink": ("reflink", _WHEN),
    "max_workers": ("slots", values.number),
    "single_thread": ("single", values.flag),
    "chunk_size": ("chunk_size", values.size),
    "files_per_job": ("chunk_files", values.count(1)),
    "chunk_seconds": ("chunk_seconds", values.seconds(0.01)),
    "parallel_file_listing": ("parallel_listing", values.yes_or_unknown),
    "split_size": ("split_size", values.size),
    "io_size": ("io_size", values.size),
    "drop_cache": ("drop_cache", values.flag),
    "content_only": ("content_only", values.flag),
    "strict_metadata": ("strict_metadata", values.flag),
    "delete_excluded": ("delete_excluded", values.flag),
    "max_delete": ("max_delete", values.count(0, optional=True)),
    "accept_loss": ("accept_loss", values.flag),
    "verify": ("verify", values.flag),
    "rate_limit": ("rate_bytes", values.rate),
    "file_rate_limit": ("rate_files", values.rate),
    "command_timeout_limit": ("command_timeout", values.seconds(0)),
    "no_create_dir": ("make_destination", values.denied),
    "target_file_system": ("file_system", values.text),
    "exit_not_enough_space": ("require_space", values.flag),
    "sequential": ("sequential", values.flag),
    "heartbeat_timeout": ("heartbeat_timeout", values.seconds(1)),
    "dry_run": ("dry_run", values.flag),
    "itemize": ("itemize", values.flag),
}
# Keywords that are no fields of Options.
_OTHERS: dict[str, Converter] = {
    "sources": values.paths,
    "paths": values.paths,  # of remove()
    "exclude": values.paths,
    "exclude_file": values.paths,
    "exclude_optional": values.paths,
    "exclude_file_optional": values.paths,
    "source_file_list": values.file,
    "null": values.flag,
    "link_tracking": values.flag,
    "no_link_tracking": values.flag,
    "random_dest_selection": values.flag,
    "file": values.file,
    "hashes": values.flag,
    "target_file_list": values.file,
    "no_hash_file_list": values.flag,
    "diff_file_list": values.file,
    "tar_diff_file_list": values.flag,
    "ledger": values.file,
    "resume": values.flag,
    "stop_before": values.seconds(0, optional=True),
    "progress": values.callback,
    "should_stop": values.callback,
}
# What messages call what has another name on the command line.
_NAMES = {
    "source_list": "source_file_list",
    "file_list": "a list",
    "dest_path": "a destination",
    "remove": "move()",
    "remove_extra": "mirror()",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asks for."""

    request: Request
    command: tuple[str, ...]  # that asks for the same
    ledger: bytes | None
    resume: bool
    stop_before: float | None  # minutes


def asked(function: str, keywords: Mapping[str, Any]) -> Asked:
    """Return what a function was asked for. Raises TypeError, UsageError, FatalError.

    keywords: all of its parameters
    """
    given = {name: _converted(function, name, value) for name, value in keywords.items()}
    sources = given.pop("sources", None) or given.pop("paths", ())
    verb = _VERBS[function]
    destinations = given.get("destination") or ()
    _refuse(function, given, sources, destinations)
    options = Options(
        **{field: given[name] for name, (field, _) in OPTIONS.items() if name in given},
        excludes=_patterns(given, "exclude", "exclude_file"),
        optional_excludes=_patterns(given, "exclude_optional", "exclude_file_optional"),
        links=_links(given),
        mirror=function == "mirror",
        move=function == "move",
        backup_dir=given.get("backup_dir") or b"",
        **_of_compare(function, verb),
    )
    return Asked(
        Request(
            verb,
            sources,
            destinations,
            options,
            source_list=given.get("source_file_list"),
            file_list=given.get("file") or given.get("target_file_list"),
            hashes=given.get("hashes", not given.get("no_hash_file_list", False)),
            nul=given.get("null", False),
            changes_file=_changes_file(given),
            tar_list=given.get("tar_diff_file_list", False),
            random_destinations=given.get("random_dest_selection", False),
            force=True,
        ),
        words(function, sources, {name: value for name, value in given.items() if not _is_usual(name, value)}),
        given.get("ledger"),
        given.get("resume", False),
        given.get("stop_before"),
    )


def patience(function: str, keywords: Mapping[str, Any]) -> float:
    """Return the seconds in which all ranks have to call the function. Raises TypeError, UsageError."""
    return float(values.seconds(0)(f"{function}(): join_timeout", keywords["join_timeout"]))


def _converted(function: str, name: str, value: Any) -> Any:
    called = f"{function}(): {name}"
    if name == "destination":
        return _destinations(function, called, value)
    if name == "backup_dir":
        return None if value is None else values.path(called, value)
    if name == "join_timeout":
        return value
    convert = OPTIONS[name][1] if name in OPTIONS else _OTHERS[name]
    return convert(called, value)


def _destinations(function: str, called: str, value: Any) -> tuple[bytes, ...]:
    if _VERBS[function] is not Verb.COMPARE:
        return values.paths(called, value)
    return () if value is None else (values.path(called, value),)


def _of_compare(function: str, verb: Verb) -> dict[str, Any]:
    if verb is not Verb.COMPARE:
        return {}
    whole = {"full_hash": True} if function == "verify" else {}
    return {"dry_run": True, "itemize": True, **whole}


def _links(given: Mapping[str, Any]) -> str:
    if given.get("link_tracking"):
        return "anywhere"
    return "never" if given.get("no_link_tracking") else "inside"


def _changes_file(given: Mapping[str, Any]) -> bytes | None:
    file: bytes | None = given.get("diff_file_list")
    return file


class _Given:
    """What was given, with the command line's names for options; None or false is what the function does not have."""

    def __init__(
        self, function: str, given: Mapping[str, Any], sources: Sequence[bytes], destinations: Sequence[bytes]
    ) -> None:
        self._given = {
            **given,
            "dest_path": destinations,
            "src_path": sources,
            "no_directory_sync": given.get("no_directory_sync") is False,  # converted to what it leaves allowed
            "remove": function == "move",
            "remove_extra": function == "mirror",
            "source_list": given.get("source_file_list"),
            "file_list": given.get("file") or given.get("target_file_list"),
        }

    def __getattr__(self, name: str) -> Any:
        return self._given.get(name)


def _refuse(
    function: str, given: Mapping[str, Any], sources: tuple[bytes, ...], destinations: tuple[bytes, ...]
) -> None:
    """Raise UsageError for what is missing or contradicts itself."""
    if not sources and given.get("source_file_list") is None:
        raise UsageError(f"{function}(): no path was given" if function == "remove" else "no source was given")
    if "destination" in given and not destinations and given.get("target_file_list") is None:
        raise UsageError(f"{function}(): a destination must be given")
    if destinations and given.get("target_file_list") is not None:
        raise UsageError(
            f"{function}() compares with a destination or with target_file_list, not with both", "Leave out one."
        )
    if given.get("link_tracking") and given.get("no_link_tracking"):
        raise UsageError("link_tracking and no_link_tracking contradict each other", "Give one of them.")
    if given.get("tar_diff_file_list") and given.get("diff_file_list") is None:
        raise UsageError("tar_diff_file_list says what diff_file_list looks like", "Add diff_file_list=.")
    if given.get("resume") and given.get("ledger") is None:
        raise UsageError("resume needs the ledger of the run to resume", "Add ledger=.")
    for says, remedy in contradictions(
        _Given(function, given, sources, destinations), lambda name: _NAMES.get(name, name)
    ):
        raise UsageError(f"{function}(): {says}", remedy)


def _is_usual(name: str, value: Any) -> bool:
    """Return whether a keyword has the value that it has when it is not given."""
    if name in OPTIONS:
        return bool(value == getattr(Options(), OPTIONS[name][0]))
    return value is True if name == "hashes" else value is None or value is False or value == ()


def _patterns(given: Mapping[str, Any], option: str, files: str) -> tuple[bytes, ...]:
    """Return the patterns of a keyword and of files. Raises UsageError, FatalError."""
    patterns = dict.fromkeys(given.get(option, ()), option)
    for name in given.get(files, ()):
        shown = printable(name)
        try:
            with open(name, "rb") as file:
                lines = exclude_lines(file.read())
        except OSError as error:
            raise FatalError(f"cannot read the exclude file {shown}: {reason_of(error)}") from None
        except ValueError as error:
            raise FatalError(f"the exclude file {shown} cannot be used: {error}") from None
        patterns.update(dict.fromkeys(lines, shown))
    refuse_patterns(patterns)
    return tuple(patterns)
