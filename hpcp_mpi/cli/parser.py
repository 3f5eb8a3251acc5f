"""The command line as argparse sees it: the only user of argparse."""

import argparse
from collections.abc import Callable
from typing import Any

from hpcp_mpi.cli import groups
from hpcp_mpi.cli.help import DESCRIPTION, USAGE, epilog

Given = argparse.Namespace  # the arguments as they were given


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="hpcp-mpi",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    with_groups = _Parser(parser)
    groups.add_what(with_groups)
    groups.add_removal(with_groups)
    groups.add_lists(with_groups)
    groups.add_identical(with_groups)
    groups.add_work(with_groups)
    groups.add_shown(with_groups)
    return parser


class _Parser:
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def group(self, title: str) -> "_Group":
        return _Group(self._parser.add_argument_group(title))


class _Group:
    def __init__(self, group: Any) -> None:
        self._group = group

    def add(self, *names: str, **settings: Any) -> None:
        dashed = [name.replace("_", "-") for name in names if name.startswith("--") and "_" in name]
        if "type" in settings:
            settings["type"] = _in_words(settings["type"])
        self._group.add_argument(*names, *dashed, **settings)

    def either(self) -> "_Group":
        return _Group(self._group.add_mutually_exclusive_group())


def _in_words(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return convert with its own words for what is wrong, instead of argparse's."""
    if convert is int:
        return convert

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted
