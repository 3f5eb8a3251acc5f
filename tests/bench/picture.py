"""The picture of docs/performance.md's first table, as SVG: `python -m tests.bench.picture` writes it anew.

The figures are those of the document, so the picture can be no better than it. A bar is the time of `mpiexec -n 4`
as a share of the time of the fastest of the others, on a logarithmic scale: what is left of 1 is faster.
"""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/performance.md"
PICTURE = DOCUMENT.with_name("performance.svg")
HEADING = "## Against cp, rsync, fpsync and hpcp"
OTHERS = ("cp -a", "rsync -a", "fpsync", "hpcp 9.79")
OURS = "mpiexec -n 4"
FASTER, SLOWER, INK, QUIET = "#1b7f4b", "#c2571a", "#1f2933", "#9aa5b1"
WIDTH, LEFT, RIGHT, ROW, TOP = 1020, 510, 170, 24, 46
SCALE = (1 / 20, 1 / 10, 1 / 5, 1 / 2, 1, 2, 4)  # what is marked


@dataclass(frozen=True)
class Race:
    """A row of the table in which both we and another have a time."""

    what: str
    ours: float  # seconds
    best: float  # of the others
    who: str

    @property
    def ratio(self) -> float:
        return self.ours / self.best


def races(text: str) -> list[Race]:
    """The races of the table, best first."""
    lines = [line for line in text.partition(HEADING)[2].partition("\n## ")[0].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    head = [cell.replace("`", "") for cell in rows[0]]
    found, subject = [], ""
    for row in rows[2:]:
        cells = dict(zip(head, row, strict=True))
        ours = next(_seconds(cell) for name, cell in cells.items() if name.startswith(OURS))
        times = [(seconds, name) for name in OTHERS if (seconds := _seconds(cells[name])) is not None]
        what = _plain(row[0])
        if not what.startswith("the same"):
            said = what.partition(" ")[2].split(", ")
            subject = ", ".join(each for each in said if each != "tmpfs" and not each.startswith("-"))
        if ours and times and min(times)[0] > 0:
            best, who = min(times)
            what = what.replace("the same again", f"re-sync {subject}")
            found.append(Race(what, ours, best, _called(who, cells[who].replace("`", ""))))
    return sorted(found, key=lambda race: race.ratio)


def _seconds(cell: str) -> float | None:
    number = re.search(r"([\d.]+) s\b", cell)
    return float(number[1]) if number else None


def _called(who: str, cell: str) -> str:
    """The command that was timed: that of the column, unless its cell names another, or one more."""
    named = re.search(r"\(([a-z].*)\)", cell)
    if named is None:
        return who
    return f"{who} {named[1]}" if named[1].startswith("and ") else named[1]


def _plain(cell: str) -> str:
    return re.sub(r" \(.*\)|`", "", cell)


def drawn(found: list[Race]) -> str:
    """The picture of races."""
    tall = TOP + ROW * len(found) + 34
    one = _at(1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall}" font-family="sans-serif"',
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{tall}" fill="#ffffff"/>',
        _text(12, 20, "Time of hpcp-mpi, as a share of the fastest of the others (2 cores, mpiexec -n 4)", INK, "bold"),
        _text(12, 37, "Left of 1: faster. Figures of docs/performance.md.", QUIET),
    ]
    for mark in SCALE:
        label = f"{mark:g}" if mark >= 1 else f"1/{1 / mark:g}"
        line = f'x1="{_at(mark):.0f}" x2="{_at(mark):.0f}" y1="{TOP}" y2="{TOP + ROW * len(found)}"'
        parts.append(f'<line {line} stroke="{INK if mark == 1 else "#e4e7eb"}"/>')
        parts.append(_text(_at(mark), TOP + ROW * len(found) + 18, label, QUIET, anchor="middle"))
    for number, race in enumerate(found):
        y, end = TOP + ROW * number, _at(race.ratio)
        colour = FASTER if race.ratio < 1 else SLOWER
        parts.append(_text(LEFT - 10, y + 16, race.what, INK, anchor="end"))
        size = f'width="{abs(end - one):.1f}" height="{ROW - 8}"'
        parts.append(f'<rect x="{min(end, one):.1f}" y="{y + 4}" {size} fill="{colour}"/>')
        said = f"{race.ours:g} s; {race.who} {race.best:g} s"
        parts.append(_text(max(end, one) + 6, y + 16, said, INK))
    return "\n".join([*parts, "</svg>", ""])


def _at(ratio: float) -> float:
    lowest, highest = math.log(SCALE[0]), math.log(SCALE[-1])
    return LEFT + (math.log(ratio) - lowest) / (highest - lowest) * (WIDTH - LEFT - RIGHT)


def _text(x: float, y: float, text: str, colour: str, weight: str = "normal", anchor: str = "start") -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" fill="{colour}" font-weight="{weight}" text-anchor="{anchor}"'
    return f"<text {place}>{html.escape(text)}</text>"


if __name__ == "__main__":
    PICTURE.write_text(drawn(races(DOCUMENT.read_text())))
