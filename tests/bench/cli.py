"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tests.bench import arena, idle, machine, races, tables, targets
from tests.bench.contestants import CONTESTANTS
from tests.bench.results import Report

BENCHMARKS = (*races.RACES, idle.NAME)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: everything ran; 1: something failed to run. Speed does not matter, nor what is not installed."""
    options = _parser().parse_args(arguments)
    if options.list:
        _list()
        return 0
    setting = arena.Setting(options.place, options.rounds, options.hpcp_rounds, options.scale)
    to = tables.console()
    wanted = {name: _taking_part(name, options.contestants) for name in options.only}
    line = machine.describe({who for names in wanted.values() for who in names})
    to.print(line, highlight=False, markup=False)
    to.print(_method(setting), highlight=False)
    reports = []
    for name, names in wanted.items():
        if not names:
            to.print(f"{name}: none of its contestants was asked for")
            continue
        try:
            reports.append(_run(name, names, setting))
        except arena.NoRoom as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        tables.show(reports[-1], to)
    verdicts = targets.verdicts(reports)
    tables.show_targets(verdicts, to)
    if options.json is not None:
        tables.write_json(options.json, tables.as_json(line, reports, verdicts))
    return int(any(result.state == "failed" for report in reports for result in report.results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests.bench", description="Who copies a tree faster? All contestants, interleaved in one run; medians."
    )
    parser.add_argument("--only", type=_names(BENCHMARKS), default=list(BENCHMARKS), metavar="NAME[,NAME]")
    parser.add_argument(
        "--contestants",
        type=_names(CONTESTANTS),
        default=list(CONTESTANTS),
        metavar="NAME[,NAME]",
        help="what the others are compared with should be one of them",
    )
    parser.add_argument("--rounds", type=_at_least(1), default=5, metavar="N", help="default 5")
    parser.add_argument(
        "--hpcp-rounds",
        type=_at_least(0),
        default=1,
        metavar="N",
        help="hpcp takes minutes, so it runs in the first N rounds only (default 1)",
    )
    parser.add_argument("--scale", type=_fraction, default=1.0, help="fraction of the files, for a quick try")
    parser.add_argument("--place", type=_directory, default=Path("/dev/shm"), help="for trees; default /dev/shm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE, too")
    parser.add_argument("--list", action="store_true", help="name benchmarks, contestants and targets")
    return parser


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown) or '(nothing)'}; known: {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"a whole number from {least} is needed, not {text!r}")
        return value

    return parse


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and up to 1 is needed, not {text!r}")
    return value


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir() or not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} is no directory that can be written to")
    return path


def _taking_part(benchmark: str, asked_for: Sequence[str]) -> list[str]:
    able = idle.CONTESTANTS_WITH_RANKS if benchmark == idle.NAME else races.RACES[benchmark].contestants
    return [name for name in able if name in asked_for]


def _run(benchmark: str, names: Sequence[str], setting: arena.Setting) -> Report:
    if benchmark == idle.NAME:
        return idle.run(names, setting)
    return arena.run(races.RACES[benchmark], [CONTESTANTS[name] for name in names], setting)


def _method(setting: arena.Setting) -> str:
    return (
        f"{setting.rounds} rounds, interleaved, on {setting.place}; hpcp in the first {setting.hpcp_rounds} only; "
        "wall time with start-up, medians; each first copy verified"
    )


def _list() -> None:
    print("benchmarks:")
    for name, race in races.RACES.items():
        print(f"  {name:12} {races.describe(race)}")
    print(f"  {idle.NAME:12} {idle.WHAT}")
    print("contestants:")
    for name, contestant in CONTESTANTS.items():
        print(f"  {name:12} {contestant.label}")
    print("targets:")
    for target in targets.TARGETS:
        unit = "% of a core" if target.benchmark == idle.NAME else "s"
        print(f"  {target.benchmark:12} {target.contestant} {target.limit(unit)}")
