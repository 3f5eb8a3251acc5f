"""The rules of exclude patterns, which are hpcp's; on every rank.

A pattern that does not start with `/` may match at any depth: `*/` is put in front. `*` matches `/` too. A pattern is
matched against the absolute path of a source entry; a directory that matches is not entered.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable


def normalise(pattern: bytes) -> bytes:
    """Return a pattern in the form that is matched against absolute paths."""
    if not pattern.startswith((b"/", b"*/")):
        pattern = b"*/" + pattern
    while b"//" in pattern:
        pattern = pattern.replace(b"//", b"/")
    return pattern


def from_lines(text: bytes) -> list[bytes]:
    """Return the patterns of an exclude file: one a line, without blank lines and `#` comments."""
    lines = (line.rstrip(b"\r") for line in text.split(b"\n"))
    return [line for line in lines if line.strip() and not line.lstrip().startswith(b"#")]


def matcher(patterns: Iterable[bytes]) -> Callable[[bytes], bool] | None:
    """Return a function from an absolute path to whether it is excluded; None without patterns."""
    expressions = [fnmatch.translate(normalise(pattern).decode("latin-1")) for pattern in patterns]
    if not expressions:
        return None
    # One expression for all patterns: the match runs once for every entry of the tree.
    match = re.compile("|".join(expressions).encode("latin-1"), re.DOTALL).match
    return lambda path: match(path) is not None
