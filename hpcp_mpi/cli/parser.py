"""The parser of the command line, on rank 0; the only user of argparse."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from hpcp_mpi.cli import options_how as groups_how
from hpcp_mpi.cli import options_imaging
from hpcp_mpi.cli import options_what as groups
from hpcp_mpi.cli.help import DESCRIPTION, USAGE, Described, Section, epilog
from hpcp_mpi.vocab.paths import in_one_line

Given = argparse.Namespace  # the arguments as they were given


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Its actions have two attributes more than argparse's: `names`, the spellings that are shown, and `completed`, what a
    shell completes the value with.
    """
    parser = _ArgumentParser(
        prog="hpcp-mpi",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=epilog(),
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
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


def described() -> list[Section]:
    """Return the options by heading, for the man page."""
    groups = build_parser()._action_groups
    return [Section(group.title or "", tuple(_described(group))) for group in groups if group._group_actions]


def _described(group: Any) -> Iterator[Described]:
    for action in group._group_actions:
        yield Described(action.names, _value(action), action.nargs == "?", action.help)


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
        super().error(in_one_line(message))


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """A formatter that shows each option in its documented spellings, and its value once."""

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
        if "type" in settings:
            settings["type"] = _in_words(settings["type"])
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
            yield from {"--" + name[2:].replace("_", "-"), "--" + name[2:].replace("-", "_")} - {name}


def _in_words(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return convert with its own error messages instead of argparse's."""
    if convert is int:
        return convert

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted
