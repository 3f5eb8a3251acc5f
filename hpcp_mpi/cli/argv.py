"""Reading of the words of a command line before argparse, which guesses. Pure.

argparse takes `-dry` for `-d ry`, gives an option the next SRC as its value, and answers a mistake with a page. Here
each option gets its value or an error of one line, and the words of other programs their meaning (`habits`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hpcp_mpi.cli import habits
from hpcp_mpi.cli.suggestions import SEE, options_like, values_like
from hpcp_mpi.vocab.errors import UsageError

_NUMBER = re.compile(r"-\d+(?:\.\d*)?|-\.\d+")


@dataclass(frozen=True, slots=True)
class Option:
    """An option, as far as its words are concerned."""

    names: tuple[str, ...]  # the spellings that are shown
    given: str  # the spelling for argparse
    kept: str  # the attribute that argparse keeps it in
    takes: str  # "" no value, "1" one, "?" may have one, "*" any number
    value: str  # the name of its value
    choices: tuple[str, ...] = ()
    check: Callable[[str], object] | None = None  # raises ValueError for a value that is none
    alone: str = ""  # what it means without a value, if that is one of the choices


@dataclass(slots=True)
class Words:
    """A command line that is understood."""

    words: list[str] = field(default_factory=list)  # for argparse
    options: list[tuple[Option, list[str]]] = field(default_factory=list)  # each with its words, as they were written
    notes: list[str] = field(default_factory=list)  # what the user is told
    habits: list[str] = field(default_factory=list)  # the words of rsync and cp in it
    letters: list[tuple[str, str, bool]] = field(default_factory=list)  # for habits.refuse_mixed
    sources: int = 0  # words that are no options


def understood(words: Sequence[str], options: Mapping[str, Option]) -> Words:
    """Return the words in the form for argparse. Raises UsageError.

    options: by all spellings, the long ones with `-`
    """
    reader = _Reader(options, list(words))
    while reader.rest:
        reader.next()
    done = reader.done
    habits.refuse_mixed(done.habits, done.letters)
    return done


class _Reader:
    def __init__(self, options: Mapping[str, Option], words: list[str]) -> None:
        self.options, self.rest, self.done = options, words, Words()

    def next(self) -> None:
        """Read an option with its value, or a word that is none."""
        word = self.rest.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            self.done.words.append(word)
            self.done.sources += 1
        elif option := self.options.get(_dashed(name)):
            self._known(option, name, value if equals else None)
        elif word.startswith("--"):
            self._unknown_long(name if name.strip("-") else word, value if equals else None)
        else:
            self._joined(word)

    def _known(self, option: Option, name: str, value: str | None) -> None:
        wrote = [name if value is None else f"{name}={value}"]
        if not option.takes:
            if value is not None:
                raise UsageError(f"{name} takes no value, and {value!r} was given")
        elif value is None:
            value = self._value(option, name)
            wrote = [name] if value is None else [name, value]
        if value is not None:
            _check(option, name, value)
        if habits.is_habit(_dashed(name)):
            self.done.habits.append(name)
        if len(name) == 2:
            self.done.letters.append((name, value or "", self.done.sources > 0))
        if name == "-e" and (note := habits.shell_note(value or "")):
            self.done.notes.append(note)
        self.done.options.append((option, wrote))
        flag = option.given if name == "-0" else _dashed(name)  # argparse would take every negative number for -0
        self.done.words.append(flag if value is None else f"{option.given}={value}")

    def _value(self, option: Option, name: str) -> str | None:
        """Return the value that follows an option as a word of its own; None where argparse is to look for it."""
        following = self.rest[0] if self.rest else None
        if option.takes == "?" and option.choices:
            if following in option.choices:
                return self.rest.pop(0)
            if following and following.isalpha() and (meant := values_like(following, option.choices)):
                raise UsageError(f"{name} {following}:{meant}", f"If {following} is a path, write ./{following}")
            return option.alone
        if option.takes != "1":
            return None
        if following is None:
            raise UsageError(f"{name} needs a value: {name} {option.value}")
        is_option = following.startswith("-") and following != "-" and " " not in following
        if is_option and not _NUMBER.fullmatch(following):
            remedy = f"If {following} is the value, write {name}={following}"
            raise UsageError(f"{name} needs a value: {name} {option.value}", remedy)
        return self.rest.pop(0)

    def _unknown_long(self, name: str, value: str | None) -> None:
        habit = habits.long_habit(_dashed(name)[2:], value)
        if habit is None:
            raise self._unknown(name)
        self._habit(name, habit)

    def _joined(self, word: str) -> None:
        """Read `-vn`, `-j4`, `-avz`."""
        letters, attached = word[1:], self._attached(word)
        flags = [self.options.get(f"-{letter}") for letter in letters]
        if _NUMBER.fullmatch(word):
            raise UsageError(f"unknown option {word}; if it is a name, write ./{word}")
        if attached and not word[len(attached)].isalpha():
            self._known(self.options[attached], attached, word[len(attached) :])
        elif all(flag is not None and not flag.takes for flag in flags):
            self.rest[:0] = [f"-{letter}" for letter in letters]
        elif (habit := self._letters(letters)) is not None:
            self._habit(word, habit)
        else:
            raise self._unknown(word.partition("=")[0])

    def _letters(self, letters: str) -> habits.Habit | None:
        """Return what letters behind one `-` mean elsewhere; None where they are rather a mistyped option."""
        if self._is_long(letters):
            return None
        try:
            return habits.letters_habit(letters)
        except UsageError:
            if len(letters) > 2 and self._attached(f"-{letters}"):
                return None  # rather a value without a blank before it: -ddir
            raise

    def _is_long(self, letters: str) -> bool:
        """Return whether letters behind one `-` begin a long option, or an option of several letters that removes."""
        names = [*self.options, *habits.long_names()]
        return letters.startswith("rm") or (len(letters) > 2 and any(name.startswith(f"--{letters}") for name in names))

    def _habit(self, word: str, habit: habits.Habit) -> None:
        self.done.habits.append(word)
        self.done.notes += [habit.note] if habit.note else []
        for name in habit.words:
            option, _, value = name.partition("=")
            self._known(self.options[option], option, value or None)

    def _unknown(self, name: str) -> UsageError:
        """Return what is said about an unknown option."""
        known = {each: option.names for option in self.options.values() for each in option.names}
        meant = options_like(name, known) or options_like(name, {each: (each,) for each in habits.long_names()})
        attached = self._attached(name)
        if name.startswith("-rm"):
            meant = " options of several letters are not joined, as in -rm -v"
        elif attached and not meant:
            meant = (
                f" if {name[len(attached) :]!r} is the value of {attached}, write {attached} {name[len(attached) :]}"
            )
        elif name[:2] in self.options and not meant:
            meant = " only letters that take no value are joined"
        return UsageError(f"unknown option {name}{':' if meant else ''}{meant} ({SEE})")

    def _attached(self, name: str) -> str:
        """Return the longest option of one dash that a word begins with, and that takes a value; "" for none."""
        begins = (name[:length] for length in range(len(name) - 1, 1, -1))
        return next((each for each in begins if each in self.options and self.options[each].takes == "1"), "")


def _dashed(name: str) -> str:
    return name.replace("_", "-") if name.startswith("--") else name


def _check(option: Option, name: str, value: str) -> None:
    """Raise UsageError for a value that an option cannot have."""
    if option.choices and value not in option.choices:
        possible = f"{', '.join(option.choices[:-1])} or {option.choices[-1]}"
        meant = values_like(value, option.choices)
        if meant:
            raise UsageError(f"{name} takes {possible}, not {value!r};{meant}")
        raise UsageError(f"{name} takes {possible}, not {value!r}", habits.otherwise(name))
    if option.check is not None:
        try:
            option.check(value)
        except ValueError as error:
            raise UsageError(f"{name}: {error}", habits.otherwise(name)) from None
