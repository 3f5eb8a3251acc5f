"""What users of rsync, cp, rm and dcp type by habit, and what becomes of it here. Pure.

What is always on is accepted and means nothing; what has an option here becomes that; what would be done differently
is refused in a sentence. Letters that are joined to one that hpcp does not have are theirs, never hpcp's: the `x` of
`-avx` is rsync's one file system, and no exclude file.
"""

import re
from dataclasses import dataclass

from hpcp_mpi.vocab.errors import UsageError


@dataclass(frozen=True, slots=True)
class Habit:
    """The meaning of a word here."""

    words: tuple[str, ...] = ()  # what it stands for; none where it is always on
    note: str = ""  # what the user is told


_Refusal = tuple[str, str]  # what is said, and the remedy

_NOT_SENT = "nothing is sent over a network, so nothing is compressed"
_REPLACED = "See with -n what would be replaced; --backup-dir DIR keeps it."
_STAGED = (
    "a file is always made anew beside its place and renamed, so there is never a part of it under its name",
    "Leave it out: after an interruption the same command resumes.",
)
_MOUNTED = (
    "what is mounted below SRC is copied, too",
    "Exclude it, as -e /path/of/mount; -rm leaves it alone in any case.",
)
_LINKS = ("symlinks are copied as symlinks", "-lt also copies what relative ones point to.")
_NEWER = ("what differs is copied, also over a newer file", _REPLACED)
_EXISTING = ("what exists and differs is replaced", _REPLACED)
_REMOTE = (
    "no remote shell is used, as paths are those of this machine",
    "Mount both places on all nodes. To exclude files, write --exclude PATTERN.",
)
_RULES = (
    "there are no include rules yet: all is copied but what is excluded",
    "-e PATTERN excludes (* matches / too, a leading / is that of the machine); -sfl LIST copies a list of names.",
)
_LOOKS = ("owners, modes and times are copied as they are", "-co copies content only.")
_HARD_LINKS = ("no links are made instead of copies", "To keep what is replaced or removed: --backup-dir DIR.")
_RELATIVE = (
    "the directories above a source are not made again",
    "Name the place: hpcp-mpi SRC -d DST/a/b/. The names in a list (-sfl) do keep theirs.",
)
_FORCE = (
    "cp's is always on, and rm's asks nothing",
    "To copy, leave it out. To remove: hpcp-mpi -rm PATH..., which asks; the man page tells of -rf.",
)
_AGAIN = ("what is identical is not copied again", "-fh compares whole files.")
_ASKS = ("nothing is asked before a file is replaced", "-n lists the changes and makes none, -v lists them as well.")
_SUFFIX = ("replaced files get no suffix", "--backup-dir DIR keeps what is replaced or removed.")
_EMPTY = ("empty directories are copied, too", "Leave it out, or exclude them (-e).")
_CONTENTS = ("SRC DST already means the contents of SRC in DST", "Leave it out.")
_OTHER_LINKS = (
    "a symlink in the destination is replaced, never followed",
    "Name the directory that it points to as DST.",
)

# What a letter means that is joined to others, or stands alone: "" on always; an option; or refused.
_LETTERS: dict[str, str | _Refusal] = {
    **dict.fromkeys("arRpgotDHAXEWPhz", ""),
    "v": "--verbose",
    "n": "--dry-run",
    "q": "--quiet",
    "c": "--full-hash",
    "S": "--sparse=always",
    "0": "--null",
    "u": _NEWER,
    "x": _MOUNTED,
    "L": _LINKS,
    "k": _LINKS,
    "K": _OTHER_LINKS,
    "e": _REMOTE,
    "b": _SUFFIX,
    "l": _HARD_LINKS,
    "s": _HARD_LINKS,
    "f": _FORCE,
    "i": _ASKS,
    "I": _AGAIN,
    "C": _RULES,
    "F": _RULES,
    "m": _EMPTY,
    "T": _CONTENTS,
    "d": _CONTENTS,
}
_ALONE = frozenset("arRpHAXWEPzcSukKlIiT")  # those that hpcp does not have, or has not alone

_ON = (
    *("archive", "recursive", "links", "perms", "times", "group", "owner", "devices", "specials", "hard-links"),
    *("acls", "xattrs", "executability", "numeric-ids", "whole-file", "no-dereference", "no-inc-recursive"),
    *("inc-recursive", "protect-args", "secluded-args", "partial", "stats", "human-readable", "preserve"),
    *("preserve-root", "mkpath", "no-compress"),
)
_TAKE_VALUES = ("preserve", "human-readable", "info", "compress", "compress-level", "skip-compress")
_BECOMES = {
    "itemize-changes": "--verbose",
    "contents": "--full-hash",
    "delete-after": "--delete",
    "delete-delay": "--delete",
}
_REFUSED: dict[str, _Refusal] = {
    **dict.fromkeys(["ignore-existing", "no-clobber", "existing", "ignore-non-existing"], _EXISTING),
    **dict.fromkeys(["inplace", "append", "append-verify", "partial-dir", "delay-updates", "temp-dir"], _STAGED),
    **dict.fromkeys(["rsh", "rsync-path", "port", "password-file", "daemon", "server"], _REMOTE),
    **dict.fromkeys(["include", "include-from", "filter", "cvs-exclude", "min-size", "max-size"], _RULES),
    **dict.fromkeys(["chmod", "chown", "usermap", "groupmap", "fake-super", "attributes-only"], _LOOKS),
    **dict.fromkeys(["link-dest", "compare-dest", "copy-dest", "link", "symbolic-link"], _HARD_LINKS),
    **dict.fromkeys(["relative", "parents", "no-implied-dirs"], _RELATIVE),
    **dict.fromkeys(["copy-links", "dereference", "copy-unsafe-links", "safe-links", "copy-dirlinks"], _LINKS),
    **dict.fromkeys(["backup", "suffix"], _SUFFIX),
    **dict.fromkeys(
        ["delete-before", "delete-during", "del"],
        ("extra entries are removed after all is copied", "Write --delete; see first what goes with -n."),
    ),
    "update": _NEWER,
    "one-file-system": _MOUNTED,
    "ignore-times": _AGAIN,
    "interactive": _ASKS,
    "prune-empty-dirs": _EMPTY,
    "no-target-directory": _CONTENTS,
    "keep-dirlinks": _OTHER_LINKS,
    "force": _FORCE,
    "size-only": ("files of equal size and different mtimes differ", "-hs 0 compares size and mtime, and no content."),
    "remove-source-files": ("a move is written otherwise", "hpcp-mpi -rm SRC -d DST removes what has a checked copy."),
    "files-from": (
        "a list of names is given with -sfl",
        "hpcp-mpi -sfl LIST SRC -d DST; with -0 (--from0) the names end with NUL.",
    ),
}
_WITHOUT = re.compile(r"no-(perms|owner|group|times|links|acls|xattrs|devices|specials|hard-links|preserve|[ogptlD])")
_BWLIMIT = re.compile(r"(\d+(?:\.\d*)?)([KMGT]?)(I?B?)", re.IGNORECASE)

# Spellings here that come from rsync: who types them thinks in rsync's words.
_OF_RSYNC = frozenset(("--delete", "--exclude-from", "--checksum"))
# hpcp's letters that mean something else there: (here, there).
_OTHERWISE = {
    "-d": ("--dest-path DST", "rsync's and cp's -d take no value"),
    "-C": ("--dest-path DST", "rsync's -C excludes what CVS does"),
    "-x": ("--exclude-file FILE", "rsync's and cp's -x stay in one file system"),
    "-L": ("--rate-limit RATE", "rsync's and cp's -L follow symlinks"),
    "-F": ("--file-rate-limit RATE", "rsync's -F reads filter rules"),
    "-f": ("--files-per-job N", "rsync's -f is a filter rule, cp's and rm's is --force"),
    "-m": ("--max-workers N", "rsync's -m prunes empty directories"),
    "-t": ("--max-workers N", "rsync's -t keeps times, as is always done, and cp's names the destination (-d)"),
    "-b": ("--batch", "rsync's and cp's -b make backups (--backup-dir DIR)"),
    "-s": ("--single-thread", "cp's -s makes symlinks, rsync's protects names from a shell, as is always done"),
}
# What is a command elsewhere, and in the Python API.
_COMMANDS = {
    "copy cp sync": "hpcp-mpi SRC DST",
    "mirror": "hpcp-mpi -rme SRC DST",
    "move mv": "hpcp-mpi -rm SRC -d DST",
    "remove rm delete": "hpcp-mpi -rm PATH...",
    "list ls list_files": "hpcp-mpi -fl LIST SRC",
    "compare diff cmp": "hpcp-mpi -cfl SRC DST",
    "verify": "hpcp-mpi --verify SRC DST",
    "status": "hpcp-mpi --status LEDGER",
    "help": "hpcp-mpi --help",
    "version": "hpcp-mpi --version",
}
_SHELLS = re.compile(r"(?:.*/)?(?:ssh|rsh|remsh)\d*(?: .*)?")


def long_habit(name: str, value: str | None) -> Habit | None:
    """Return what --NAME, or --NAME=VALUE, of another program means here; None for an unknown one. Raises UsageError.

    name: with `-`, and without the `--` in front
    """
    if value is None or name in _TAKE_VALUES:
        if name in ("compress", "compress-level", "skip-compress"):
            return Habit(note=f"--{name} has no meaning here: {_NOT_SENT}")
        if name in _ON or (name == "info" and value is not None):
            return Habit()
        if name in _BECOMES:
            return Habit((_BECOMES[name],))
    if refusal := _REFUSED.get(name, _LOOKS if _WITHOUT.fullmatch(name) else None):
        raise _refused(f"--{name}", refusal)
    if name == "bwlimit":
        raise UsageError(f"--bwlimit is --rate-limit here, of all ranks together{_rate(value)}")
    return None


def letters_habit(letters: str) -> Habit | None:
    """Return what letters behind one `-` mean in rsync, cp or rm; None where they are no word of theirs.

    Raises UsageError for one that is done otherwise here.
    """
    if letters not in _ALONE and (len(letters) == 1 or not (set(letters) & set("arRpzAHXDgPuc"))):
        return None
    if not set(letters) <= _LETTERS.keys():
        return None
    meanings = [(letter, _meaning(letter, letters)) for letter in dict.fromkeys(letters)]
    for letter, meaning in meanings:
        if isinstance(meaning, tuple):
            raise _refused(letter if len(letters) > 1 else f"-{letter}", meaning, f"-{letters}: ")
    words = tuple(meaning for _, meaning in meanings if isinstance(meaning, str) and meaning)
    return Habit(words, f"-z has no meaning here: {_NOT_SENT}" if "z" in letters else "")


def _meaning(letter: str, letters: str) -> str | _Refusal:
    """Return what a letter means among others: cp and rsync use some of them for different things."""
    among = set(letters)
    if letter == "f" and among & set("ap"):
        return ""  # of cp, not of rm
    if letter == "l" and among & set("tgoD"):
        return ""  # of rsync, not of cp
    if letter == "d" and among & set("apRr"):
        return ""  # of cp: links stay links
    if letter == "R" and among & set("ar"):
        return _RELATIVE  # of rsync, not of cp
    return _LETTERS[letter]


def refuse_mixed(habits: list[str], letters: list[tuple[str, str, bool]]) -> None:
    """Raise UsageError if hpcp's letters stand beside words of rsync or cp, where they mean something else.

    habits: such words. letters: hpcp's options of one letter, the value of each, and whether a SRC came before it
    """
    for letter, value, behind in letters:
        if letter == "-e" and habits and _SHELLS.fullmatch(value):
            raise _refused(f"-e {value}", _REMOTE)
        if habits and letter in _OTHERWISE and not (letter == "-d" and behind):
            here, there = _OTHERWISE[letter]
            raise UsageError(
                f"{letter} beside {habits[0]} is ambiguous: here it is {here}; {there}", "Write the long option."
            )


def command(word: str) -> str:
    """Return how a command is written that is a word elsewhere; "" for another word."""
    return next((here for words, here in _COMMANDS.items() if word in words.split()), "")


def long_names() -> list[str]:
    """Return the long options of other programs that are accepted."""
    return [f"--{name}" for name in (*_ON, *_BECOMES)]


def is_habit(option: str) -> bool:
    """Return whether an option that is also here is one of rsync."""
    return option in _OF_RSYNC


def otherwise(option: str) -> str:
    """Return what another program means by an option, for who gave it a wrong value; "" where none does."""
    if option in ("--sparse", "--reflink"):
        return f"What {option} without a value is elsewhere is {option}=always."
    here, there = _OTHERWISE.get(option, ("", ""))
    return f"{option} is {here} here; {there}." if here else ""


def shell_note(pattern: str) -> str:
    """Return what is said about an exclude pattern that looks like rsync's remote shell; "" otherwise."""
    if not _SHELLS.fullmatch(pattern):
        return ""
    return f"-e {pattern} excludes what is called so: -e is --exclude here, and no remote shell"


def _refused(word: str, refusal: _Refusal, among: str = "") -> UsageError:
    """Return the refusal of a word. among: the letters that it is joined to"""
    begin = among if len(among) > len("-x: ") else ""
    return UsageError(f"{begin}there is no {word} here: {refusal[0]}", refusal[1])


def _rate(value: str | None) -> str:
    """Return the option for a value of rsync's --bwlimit, which counts KiB, and in powers of 1024 without a B."""
    match = _BWLIMIT.fullmatch(value or "")
    if match is None:
        return ": write --rate-limit=10M for 10 MB/s (rsync counts KiB)"
    number, unit, kind = match.group(1), match.group(2).upper() or "K", match.group(3).upper()
    return f": write --rate-limit={number}{unit}{'' if kind == 'B' else 'i'}"
