"""The parser of the command line, on rank 0; the only user of argparse."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from hpcp_mpi.cli import options_how as groups_how
from hpcp_mpi.cli import options_imaging
from hpcp_mpi.cli import options_what as groups
from hpcp_mpi.cli.argv import Option, understood
from hpcp_mpi.cli.help import DESCRIPTION, USAGE, Described, Section, epilog
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.paths import in_one_line

Given = argparse.Namespace  # the arguments as they were given
_WIDTH = 80  # of the help, however wide the terminal
_EXCLUSIVE = re.compile(r"argument ([^/: ]+)\S*: not allowed with argument ([^/: ]+)\S*")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Its actions have two attributes more than argparse's: `names`, the spellings that are shown, and `completed`, what a
    shell completes the value with.
    """
    parser = _ArgumentParser(
        prog="hpcp-mpi",
        usage=USAGE,
        description=DESCRIPTION,
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.register("action", "help", _Help)
    with_groups = _Parser(parser)
    groups.add_places(with_groups)
    groups.add_selection(with_groups)
    groups.add_removal(with_groups)
    groups.add_lists(with_groups)
    options_imaging.add_images(with_groups)
    groups_how.add_identical(with_groups)
    groups_how.add_work(with_groups)
    groups_how.add_long_runs(with_groups)
    groups_how.add_shown(with_groups)
    return parser


def read(words: list[str]) -> Given:
    """Return the arguments as they were given, with `notes` for the user. Raises UsageError."""
    parser = build_parser()
    # argparse loses a `--` when positionals are intermixed, and takes what follows it for options.
    end = _end(words)
    if wanted := [word for word in words[:end] if word in ("-h", "--help")]:
        return parser.parse_args(wanted[-1:])  # whatever is wrong with the others
    known = understood(words[:end], _options(parser))
    given = parser.parse_intermixed_args(known.words)
    given.src_path += words[end + 1 :]
    given.notes, given.habits = known.notes, known.habits
    return given


def options_of(words: list[str]) -> list[tuple[str, list[str]]]:
    """Return the words of each option in a command line that is valid, with the attribute that keeps it."""
    known = understood(words[: _end(words)], _options(build_parser()))
    return [(option.kept, wrote) for option, wrote in known.options]


def _end(words: list[str]) -> int:
    return words.index("--") if "--" in words else len(words)


def help_text() -> str:
    """Return the help with all options."""
    parser = build_parser()
    parser.epilog = epilog()  # wrapping it takes as long as reading a command line
    return parser.format_help()


def described() -> list[Section]:
    """Return the options by heading, for the man page, the completions and the documents."""
    groups = build_parser()._action_groups
    return [Section(group.title or "", tuple(_described(group))) for group in groups if group._group_actions]


def _described(group: Any) -> Iterator[Described]:
    for action in group._group_actions:
        yield Described(
            action.names,
            _value(action),
            action.nargs == "?",
            action.help,
            choices=tuple(action.choices or ()),
            completed=action.completed,
            several=action.nargs == "*",
            repeated=type(action).__name__ in ("_AppendAction", "_CountAction"),
        )


def _options(parser: argparse.ArgumentParser) -> dict[str, Option]:
    """Return the options by each spelling, the long ones with `-`."""
    found: dict[str, Option] = {}
    for action in parser._actions:
        if action.option_strings:
            option = Option(
                names=action.names,  # type: ignore[attr-defined]
                given=next((each for each in action.option_strings if each.startswith("--")), action.option_strings[0]),
                kept=action.dest,
                takes="" if action.nargs == 0 else str(action.nargs or "1"),
                value=_value(action),
                choices=tuple(action.choices or ()),
                check=action.type if callable(action.type) else None,
                alone=str(action.const or ""),
            )
            spellings = (*action.names, *action.option_strings)  # type: ignore[attr-defined]
            found.update(dict.fromkeys((each for each in spellings if "_" not in each), option))
    return found


def _value(action: argparse.Action) -> str:
    """Return the name of the option's value; empty if it has none."""
    if not action.option_strings:
        return ""
    if action.choices and not action.metavar:
        return ",".join(action.choices)
    value = action.metavar if isinstance(action.metavar, str) else ""
    return f"{value}..." if action.nargs == "*" else value


class _ArgumentParser(argparse.ArgumentParser):
    """A parser whose errors a terminal only shows: what a pattern of the shell names may be another user's file."""

    def error(self, message: str) -> NoReturn:
        shown = in_one_line(message)
        if pair := _EXCLUSIVE.fullmatch(shown):
            raise UsageError(f"{pair[2]} and {pair[1]} exclude each other", "Give one of them.")
        raise UsageError(shown, "See hpcp-mpi --help.")


class _Help(argparse.Action):
    """An action that keeps which help was asked for, as `parse` shows it."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **settings)

    def __call__(self, parser: object, namespace: Given, values: object, option_string: str | None = None) -> None:
        namespace.help = option_string


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that shows each option in its documented spellings, and its value once."""

    def __init__(self, prog: str, **settings: Any) -> None:
        import shutil  # which takes long to load, and is needed for the help only

        super().__init__(prog, width=min(_WIDTH, shutil.get_terminal_size().columns) - 2, **settings)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        value = _value(action)
        names = ", ".join(action.names)  # type: ignore[attr-defined]
        return names + (f" [{value}]" if action.nargs == "?" else f" {value}" if value else "")


class _Parser:
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def group(self, title: str) -> "_Group":
        return _Group(self._parser.add_argument_group(title))


class _Group:
    def __init__(self, group: Any) -> None:
        self._group = group

    def add(self, *names: str, complete: str = "", **settings: Any) -> None:
        action = self._group.add_argument(*_understood(names), **settings)
        action.names = names if action.option_strings else (settings["metavar"],)
        action.completed = complete

    def either(self) -> "_Group":
        return _Group(self._group.add_mutually_exclusive_group())


def _understood(names: tuple[str, ...]) -> Iterator[str]:
    """Yield the spellings of an option for argparse."""
    for name in names:
        if name == "-0":
            continue  # argparse would take every negative number for an option
        yield name
        if name.startswith("--"):
            yield from {"--" + name[2:].replace("-", "_")} - {name}
