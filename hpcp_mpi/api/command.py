"""The command line that does what a call of the API asks for: a ledger shows it, and it can resume the run."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

PROGRAM = "hpcp-mpi"
# What says which function it is.
_VERBS = {
    "copy": (),
    "mirror": ("--remove_extra", "--remove_force"),
    "move": ("--remove", "--remove_force"),
    "compare": ("--compare_file_list",),
    "verify": ("--compare_file_list", "--full_hash"),
    "list_files": (),
    "remove": ("--remove", "--remove_force"),
}
# Keywords whose option is called otherwise. The rest are long options.
_CALLED = {
    "destination": "-d",
    "file": "-fl",
    "target_file_list": "-fl",
    "exclude_optional": "-eo",
    "exclude_file_optional": "-xo",
    "itemize": "--verbose",
    "unmatched_excludes": "--remove_force",
    "hashes": "--no_hash_file_list",
}
# What a command line has no word for.
_ONLY_HERE = frozenset({"progress", "should_stop", "join_timeout"})


def words(function: str, sources: tuple[bytes, ...], given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words of the command. given: the keywords that are not as without them, with converted values"""
    found = [PROGRAM, *_VERBS[function]]
    for name, value in given.items():
        if name not in _ONLY_HERE:
            found += _option(_CALLED.get(name, f"--{name}"), value)
    paths = [os.fsdecode(path) for path in sources]
    return (*found, "--", *paths) if any(path.startswith("-") for path in paths) else (*found, *paths)


def _option(option: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield option
        return
    for each in value if isinstance(value, tuple) else (value,):
        text = os.fsdecode(each) if isinstance(each, bytes) else str(each)
        # A value that looks like an option has to be part of the word.
        yield from (f"{option}={text}",) if text.startswith("-") else (option, text)
