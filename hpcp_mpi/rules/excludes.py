"""The rules of exclude patterns, which are hpcp's; on every rank.

A pattern that does not start with `/` may match at any depth: `*/` is put in front. `*` matches `/` too. A pattern is
matched against the absolute path of a source entry; a directory that matches is not entered. One that ends in `/`
matches directories only.
"""

import fnmatch
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import first_few, printable

_BOM = b"\xef\xbb\xbf"
_NAMED = 3  # patterns that a question names
_MOST_COMPARED = 1000  # patterns; of more it is not found out which cover which
_WILD = (b"*", b"?", b"[")

_Match = Callable[[bytes], object]  # what is not None where a path matches


def normalise(pattern: bytes) -> tuple[bytes, bool]:
    """Return a pattern in the form that is matched against absolute paths, and whether it is for directories only."""
    names: list[bytes] = []
    for name in pattern.split(b"/"):
        if name == b".." and names and names[-1] != b".." and not any(wild in names[-1] for wild in _WILD):
            names.pop()
        elif name not in (b"", b"."):
            names.append(name)
    text = b"/".join(names)
    if pattern.startswith(b"/"):
        text = b"/" + text
    elif names[:1] != [b"*"] or len(names) == 1:
        text = b"*/" + text
    return text, pattern.endswith((b"/", b"/.", b"/.."))


def literal(path: bytes) -> bytes:
    """Return a pattern that matches a path and nothing else."""
    return b"".join(b"[%c]" % byte if byte in b"[*?" else b"%c" % byte for byte in path)


def refusal(pattern: bytes) -> str:
    """Return why a pattern can match nothing, whatever the sources hold; "" if it can match something."""
    text, _ = normalise(pattern)
    if text in (b"/", b"*/"):
        return "it names no entry of a directory"
    if b".." in text.split(b"/"):
        return "it begins with `..` or has it behind a wildcard, and no path has that"
    return "it holds a NUL" if b"\0" in pattern else ""


def refuse(patterns: Mapping[bytes, str]) -> None:
    """Raise UsageError for a pattern that can match nothing. patterns: each with what it was given by"""
    for pattern, place in patterns.items():
        if why := refusal(pattern):
            raise UsageError(
                f"the exclude pattern {printable(pattern)!r} of {place} can match nothing: {why}",
                "Patterns are matched against absolute paths in the sources: name an entry, at any depth or with its "
                "full path.",
            )


def from_lines(text: bytes) -> list[bytes]:
    """Return the patterns of an exclude file: one a line, without blank lines and `#` comments. Raises ValueError."""
    if b"\0" in text:
        raise ValueError("it holds NULs, so it is no list of lines (or it is UTF-16: convert it to UTF-8)")
    lines = (line.rstrip(b"\r") for line in text.removeprefix(_BOM).split(b"\n"))
    return [line for line in lines if line.strip() and not line.lstrip().startswith(b"#")]


class Excludes:
    """Tells what is excluded, and knows which patterns have matched. Thread-safe.

    matched: a bit for each pattern, the first one's is the lowest
    """

    def __init__(self, patterns: Sequence[bytes]) -> None:
        self._patterns = [normalise(pattern) for pattern in patterns]
        # One expression for all patterns: the match runs once for every entry of the tree.
        self._any = _compiled(text for text, directories in self._patterns if not directories)
        self._directory = _compiled(text for text, directories in self._patterns if directories)
        self.matched = 0
        self._open: list[tuple[int, _Match, bool]] | None = None  # those that have not matched; None: not made yet
        self._lock = threading.Lock()

    def __call__(self, path: bytes, is_directory: bool) -> bool:
        """Return whether an entry is excluded. path: absolute, in a source"""
        if (self._any is not None and self._any(path) is not None) or (
            is_directory and self._directory is not None and self._directory(path) is not None
        ):
            if self._open != []:
                self._mark(path, is_directory)
            return True
        return False

    def _mark(self, path: bytes, is_directory: bool) -> None:
        """Remember which patterns match an entry."""
        with self._lock:
            if self._open is None:
                each = ((1 << number, _compiled([text]), only) for number, (text, only) in enumerate(self._patterns))
                self._open = [(bit, match, only) for bit, match, only in each if match is not None]
            left = []
            for bit, match, only in self._open:
                if (is_directory or not only) and match(path) is not None:
                    self.matched |= bit
                else:
                    left.append((bit, match, only))
            self._open = left


def matcher(patterns: Sequence[bytes]) -> Excludes | None:
    """Return what tells whether an entry is excluded; None without patterns."""
    return Excludes(patterns) if patterns else None


def unmatched(patterns: Sequence[bytes], required: int, matched: int) -> list[bytes]:
    """Return those of the first required patterns that matched nothing. matched: Excludes' of all ranks.

    Nothing is said of a pattern that another one covers: what `build` excludes is not entered, so `build/*` matches
    nothing, and would protect nothing more.
    """
    idle = [number for number in range(required) if not matched >> number & 1]
    if not idle or len(patterns) > _MOST_COMPARED:
        return [patterns[number] for number in idle]
    each = [_Place(pattern) for pattern in patterns]

    def excused(number: int) -> bool:
        """Of two patterns that cover each other, and match nothing, the first one is named."""
        return any(
            other.covers(each[number])
            and (matched >> at & 1 or (at < required and (at < number or not each[number].covers(other))))
            for at, other in enumerate(each)
            if at != number
        )

    return [patterns[number] for number in idle if not excused(number)]


UNDOUBTED = "Mend it, give it with -eo if it may match nothing, or give -rf twice"


def in_doubt(patterns: Sequence[bytes]) -> str:
    """Return what is wrong with patterns that matched nothing, before what they do not protect is removed."""
    several = len(patterns) > 1
    return (
        f"The exclude pattern{'s' if several else ''} {first_few(patterns, _NAMED)} matched nothing, so "
        f"{'they protect' if several else 'it protects'} nothing."
    )


class _Place:
    """A pattern, and what it would match if it was a path itself."""

    def __init__(self, pattern: bytes) -> None:
        self.text, self.directories = normalise(pattern)
        self.above = [self.text[:at] for at in range(1, len(self.text)) if self.text[at : at + 1] == b"/"]
        self._match = _compiled([self.text])

    def covers(self, other: "_Place") -> bool:
        """Return whether this excludes what the other one does, or a directory that leads there."""
        match = self._match
        if match is None:
            return False
        if (other.directories or not self.directories) and match(other.text) is not None:
            return True
        return any(match(path) is not None for path in other.above)


def _compiled(texts: Iterable[bytes]) -> _Match | None:
    """Return what matches a path with patterns in their normal form; None without patterns."""
    expressions = [fnmatch.translate(text.decode("latin-1")) for text in texts]
    return re.compile("|".join(expressions).encode("latin-1"), re.DOTALL).match if expressions else None
