r"""File names are bytes. This is how they are shown to people, and read back.

The form is that of a file list: `\\`, `\n`, `\t` and `\xNN` for whatever is not printable text, so a shown name is
always one line of valid UTF-8 and always means exactly one name.
"""

import re
from collections.abc import Sequence

# Of the private directories that copies are made in. What is only called so is a user's: host.stage.is_stage.
STAGE_PREFIX = b".hpcp-mpi."

_PLAIN = re.compile(rb"[ -\[\]-~]*")  # printable ASCII without the backslash
_NAMED = {"\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_ESCAPE = re.compile(r"\\(\\|n|t|:|x[0-9a-fA-F]{2})")
_MEANING = {"\\": b"\\", "n": b"\n", "t": b"\t", ":": b":"}


def printable(name: bytes) -> str:
    """Return name as one line of printable text. Invalid UTF-8 becomes `\\xNN`, byte by byte."""
    if _PLAIN.fullmatch(name):
        return name.decode("ascii")
    text = name.decode("utf-8", "surrogateescape")
    return "".join(_NAMED["\\"] if character == "\\" else _escaped(character) for character in text)


def in_one_line(text: str) -> str:
    """Return a text of others (a reason, a host, what a ledger says) so that a terminal does nothing but show it.

    It is one line, without escape sequences, and without characters that change the direction. Names in it may have
    been through printable() already.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if character in _NAMED:
        return _NAMED[character]
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", _as_bytes(character)))


def _as_bytes(character: str) -> str:
    """Return how a character becomes bytes: of the surrogates only some stand for a byte."""
    return "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"


def first_few(names: Sequence[bytes], most: int, between: str = ", ") -> str:
    """Return names as text, of many only the first ones: `a, b and 7 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(map(printable, names[:most])) + more


def unescape(text: str) -> bytes:
    """Return the name that `shown` printed as text. Raises ValueError for an unknown escape."""
    parts, at = [], 0
    while (backslash := text.find("\\", at)) >= 0:
        parts.append(text[at:backslash].encode("utf-8", "surrogateescape"))
        escape = _ESCAPE.match(text, backslash)
        if escape is None:
            raise ValueError(f"unknown escape at column {backslash + 1}: {text[backslash : backslash + 4]!r}")
        word = escape.group(1)
        parts.append(bytes([int(word[1:], 16)]) if word[0] == "x" else _MEANING[word])
        at = escape.end()
    parts.append(text[at:].encode("utf-8", "surrogateescape"))
    return b"".join(parts)


def join(*parts: bytes) -> bytes:
    """Return the parts that are not empty, joined by `/`. A relative root is the empty path."""
    return b"/".join(filter(None, parts))


def child_path(directory: bytes, name: bytes) -> bytes:
    """Return the absolute path of name in an absolute directory, which may be `/`."""
    return directory.rstrip(b"/") + b"/" + name if name else directory


def relative_to(path: bytes, directory: bytes) -> bytes | None:
    """Return path relative to directory, both absolute or both relative to one root; None where it is not in there."""
    if not directory:
        return path
    if path == directory:
        return b""
    begin = directory.rstrip(b"/") + b"/"
    return path[len(begin) :] if path.startswith(begin) else None


def is_within(path: bytes, directory: bytes) -> bool:
    """Return whether path is directory, or lies below it. Both absolute, or both relative to one root."""
    return path == directory or not directory or path.startswith(directory.rstrip(b"/") + b"/")
