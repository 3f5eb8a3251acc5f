"""Command lines for `cp`, and the parser of its error messages.

cp gets names in its working directory, and a stage to copy to, both by descriptor.
"""

import re

from hpcp_mpi.host.dirfd import path_of
from hpcp_mpi.vocab.options import Options

MAX_ARGUMENTS = 512 * 1024  # bytes of names in one call; the kernel allows 2 MiB, environment included

# GNU's shell-escape quoting: 'plain', "it's", 'a'$'\n''b', and \' between pieces.
_QUOTED = re.compile(rb"""(?:'[^']*'|"[^"]*"|\$'(?:[^'\\]|\\.)*'|\\')+""")
_PIECE = re.compile(rb"""'([^']*)'|"([^"]*)"|\$'((?:[^'\\]|\\.)*)'|\\(')""")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_MEANING = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
# The beginnings of cp's messages, after "cp ", that leave a file's content in doubt.
_CONTENT = ("error ", "failed to close", "failed to extend", "cannot fstat", "cannot lseek", "fsync failed")
# Those of libattr: with the name of an attribute where that of the file should be, as both are in one buffer.
_ATTRIBUTES = (b"setting attribute", b"getting attribute", b"listing attributes")
_DESCRIPTOR = re.compile(rb"/proc/self/fd/\d+/?")


def command(options: Options, stage: int, names: list[bytes], follow: bool = False) -> list[bytes]:
    """Return the command that copies names into a stage.

    follow: names are `/proc/self/fd/N` of pinned files, so the arguments themselves are links to follow.
    """
    return [
        b"cp",
        *_what(options, follow),
        b"--sparse=" + options.sparse.encode(),
        b"--reflink=" + options.reflink.encode(),
        b"-t",
        path_of(stage),
        b"--",
        *names,
    ]


def _what(options: Options, follow: bool) -> list[bytes]:
    if options.content_only:
        return [b"-RfH" if follow else b"-RfP", b"--preserve=links"]
    # As -a, which is silent about attributes that cannot be set: this says so.
    return [b"-dRfH" if follow else b"-dRf", b"--preserve=all"]


def attributes_command(source: int, stage: int, name: bytes) -> list[bytes]:
    """Return the command that gives name in the stage all of an open file's metadata, and none of its data."""
    return [b"cp", b"-aHT", b"--attributes-only", b"--", path_of(source), path_of(stage, name)]


def attributes_refused(stderr: bytes) -> dict[bytes, str]:
    """Return the attributes that cp could not copy, and why. It does not say which entry's."""
    found: dict[bytes, str] = {}
    for line in _lines(stderr):
        text = line.removeprefix(b"cp: ")
        if text.startswith(_ATTRIBUTES):
            name = _QUOTED.search(text)
            found[unquoted(name.group()) if name else b""] = text.rpartition(b": ")[2].decode("utf-8", "replace")
    return found


def permissions_refused(words: str) -> str | None:
    """Return why cp could not give a copy its ACL; None where its message is about something else."""
    said, _, why = words.removeprefix("cp ").rpartition(": ")
    return why if said == "preserving permissions for" else None


def complaints(stderr: bytes) -> tuple[dict[bytes, str], list[str]]:
    """Return cp's first message about each path, and its messages that name no path.

    Paths are relative to cp's working directory, or to the stage: a path has the same meaning in both.
    """
    by_path: dict[bytes, str] = {}
    others: list[str] = []
    for line in _lines(stderr):
        text = line.removeprefix(b"cp: ")
        if text.startswith(_ATTRIBUTES):
            continue  # they name no path
        found = _QUOTED.search(text)
        if found is None:
            others.append(text.decode("utf-8", "replace"))
            continue
        path = _DESCRIPTOR.sub(b"", unquoted(found.group()), count=1)
        words = text[: found.start()].rstrip() + text[found.end() :]
        by_path.setdefault(path, "cp " + words.decode("utf-8", "replace"))
    return by_path, others


def doubts_content(words: str) -> bool:
    """Return whether cp's message about a file leaves its content in doubt, though size and time are right."""
    return words.removeprefix("cp ").startswith(_CONTENT)


def ending(code: int, others: list[str]) -> str:
    """Return the reason of a cp that failed without naming an entry. others: its messages that name no path"""
    if others:
        return others[0] if code >= 0 else others[-1]  # the last message of a killed one is the reason
    if code < 0:
        return f"cp was ended by signal {-code}"
    return f"cp failed and did not say why (exit code {code})"


def _lines(stderr: bytes) -> list[bytes]:
    """Return cp's messages, one a line: cp writes a newline in a name as `\\n`."""
    return [line for line in stderr.split(b"\n") if line.strip()]


def unquoted(text: bytes) -> bytes:
    """Return the name that GNU tools quote as text in the C locale."""
    parts = []
    for plain, double, escaped, quote in _PIECE.findall(text):
        parts.append(plain or double or quote or _ESCAPE.sub(_unescape, escaped))
    return b"".join(parts)


def _unescape(match: re.Match[bytes]) -> bytes:
    word = match.group(1)
    return bytes([int(word, 8) & 0xFF]) if word.isdigit() else _MEANING.get(word, word)
