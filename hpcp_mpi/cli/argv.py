"""Check of a command line before argparse, which takes an unknown option for a known one with a value.

`-dry` would be `-d ry`. No user means that, and hpcp has more options that begin like others.
"""

import re
from collections.abc import Collection, Iterable

from hpcp_mpi.vocab.errors import UsageError

_LETTERS = re.compile(r"-[A-Za-z]{2,}")


def understood(words: Iterable[str], options: Collection[str], flags: Collection[str]) -> list[str]:
    """Return the words in the form for argparse. Raises UsageError for an unknown option.

    options: all spellings. flags: those that take no value, of which those of one letter may be joined
    """
    checked = []
    for word in words:
        name = word.partition("=")[0]
        if _LETTERS.match(name) and name not in options and not all(f"-{letter}" in flags for letter in name[1:]):
            meant = f"; if {name[2:]!r} is the value of {name[:2]}, write it as {name[:2]} {name[2:]}"
            raise UsageError(
                f"unknown option {name}{meant if name[:2] in options and name[:2] not in flags else ''}",
                "See hpcp-mpi -h.",
            )
        # argparse would take every negative number for an option if it knew of -0.
        checked.append("--null" if word == "-0" else word)
    return checked
