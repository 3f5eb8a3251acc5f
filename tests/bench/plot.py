"""The report as one picture: a bar chart for each benchmark, all in one PNG. Needs matplotlib."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.races import OURS
from tests.bench.results import Report, Result
from tests.bench.tables import number

OURS_COLOUR, OTHERS_COLOUR, LINE_COLOUR = "#d95f02", "#9aa5b1", "#5b6770"
# All in inches.
WIDTH, LEFT, RIGHT = 11.0, 3.2, 0.3
PER_BAR, TITLE, TICKS, PER_LINE, GAP = 0.24, 0.32, 0.24, 0.15, 0.22
LETTERS = 150  # of the small print that go into a line


class NoMatplotlib(Exception):
    """It is not installed."""


@dataclass(frozen=True)
class Bar:
    """length: a ratio to the baseline, or the median where there is none."""

    label: str
    length: float
    text: str
    colour: str


def bars(report: Report) -> list[Bar]:
    """Of those that have a median, in the order of the report. Pure."""
    return [_bar(result, report) for result in report.results if result.median is not None]


def _bar(result: Result, report: Report) -> Bar:
    value = f"{number(result.median or 0)} {report.unit}"
    ratio = report.ratio(result.contestant, report.baseline) if report.baseline else None
    text = value if ratio is None else f"{number(ratio)} x   ({value})"
    return Bar(result.label, (result.median or 0) if ratio is None else ratio, text, _colour(result))


def _colour(result: Result) -> str:
    ours = result.contestant in OURS or result.contestant.startswith(("mpich-", "openmpi-"))
    return OURS_COLOUR if ours else OTHERS_COLOUR


def lacking(report: Report) -> str:
    """Who has no bar, and why."""
    states = ("missing", "failed")
    named = {state: [r.label for r in report.results if r.state == state] for state in states}
    return "; ".join(f"{state}: {', '.join(labels)}" for state, labels in named.items() if labels)


def is_relative(report: Report) -> bool:
    """Can there be ratios?"""
    return report.baseline is not None and report.median(report.baseline) is not None


def axis(report: Report) -> str:
    """What the bars mean."""
    base = next((r.label for r in report.results if r.contestant == report.baseline), "")
    return f"times {base}, left of 1 is better" if is_relative(report) else report.unit


def small_print(report: Report) -> list[str]:
    """Lines below the bars."""
    return textwrap.wrap("; ".join(filter(None, (axis(report), lacking(report)))), LETTERS)


def height(report: Report) -> float:
    """Inches of its part of the picture."""
    return TITLE + PER_BAR * max(1, len(bars(report))) + TICKS + PER_LINE * len(small_print(report)) + GAP


def write(path: Path, reports: Sequence[Report], machine: str) -> None:
    """Whole or not at all. Raises NoMatplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NoMatplotlib("no picture without matplotlib: pip install matplotlib") from None
    foot = textwrap.wrap(machine, LETTERS)
    inches = sum(map(height, reports)) + PER_LINE * len(foot) + GAP
    figure = Figure(figsize=(WIDTH, inches))
    top = inches
    for report in reports:
        _draw(figure, report, top, inches)
        top -= height(report)
    figure.text(0.1 / WIDTH, GAP / 2 / inches, "\n".join(foot), fontsize=6.5, color="0.4", va="bottom")
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    figure.savefig(staged, dpi=110, format="png")
    staged.replace(path)


def _draw(figure: Any, report: Report, top: float, inches: float) -> None:
    """top: the upper end of this part, in inches from below."""
    drawn = bars(report)
    tall = PER_BAR * max(1, len(drawn))
    bottom = top - TITLE - tall
    axes = figure.add_axes((LEFT / WIDTH, bottom / inches, (WIDTH - LEFT - RIGHT) / WIDTH, tall / inches))
    doubt = "" if report.full_size else "  (not full size)"
    title = f"{report.benchmark}: {report.what}{doubt}"
    figure.text(0.1 / WIDTH, (top - 0.22) / inches, title, fontsize=9, fontweight="bold")
    for count, line in enumerate(small_print(report), 1):
        figure.text(LEFT / WIDTH, (bottom - TICKS - PER_LINE * count) / inches, line, fontsize=7, color="0.3")
    if is_relative(report):
        _scale_to_baseline(axes, drawn)
    elif drawn:
        axes.set_xlim(0, 1.35 * max(bar.length for bar in drawn) or 1)
    start = 1 if is_relative(report) else 0
    places = range(len(drawn))
    lengths, colours = [bar.length - start for bar in drawn], [bar.colour for bar in drawn]
    axes.barh(places, lengths, left=start, color=colours, height=0.72)
    axes.set_yticks(places, [bar.label for bar in drawn], fontsize=8)
    axes.set_ylim(max(1, len(drawn)) - 0.5, -0.5)
    for place, bar in zip(places, drawn, strict=True):
        end = max(bar.length, start), place
        axes.annotate(bar.text, end, (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _scale_to_baseline(axes: Any, drawn: Sequence[Bar]) -> None:
    """Logarithmic, with faster ones on the left of 1, and with room for texts on the right."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    shortest, longest = min(bar.length for bar in drawn), max(bar.length for bar in drawn)
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, shortest / 1.3), max(4, longest * 1.3 * max(1, longest / shortest) ** 0.3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1, color=LINE_COLOUR, linewidth=1)
