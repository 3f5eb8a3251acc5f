"""The words of a run's progress, as many as fit: a line for logs, and the row of a bar. Pure.

Each part has forms with an importance: where room is short, what matters least gets shorter, or is left out.
"""

from collections.abc import Callable, Sequence

from hpcp_mpi.vocab.paths import in_one_line
from hpcp_mpi.vocab.progress import Progress

_OF_ENTRIES = ("removing", "counting", "listing", "comparing")  # phases that move no content
_LONGEST_BAR = 40
_PULSE = 6  # characters that wander about while nobody knows how much there is
_BLOCKS = ("━", "─")  # done, and the rest
_ASCII_BLOCKS = ("#", "-")

Part = Sequence[tuple[int, str]]  # (importance, text), the longest and least important form first; "" is left out
Piece = tuple[str, str]  # (text, style): done, rest, failed, or "" for plain text


def line(progress: Progress, width: int) -> str:
    """Return progress as one line of at most width characters."""
    head: Part = ((70, f"{progress.phase} {_percent(progress)}".rstrip()), (100, progress.phase))
    parts = (_amount(progress), _rate(progress), _left(progress), _failed(progress), _entries(progress))
    rest = (_average(progress), _identical(progress), _files(progress), _busy(progress), _since(progress))

    def said(least: int) -> str:
        words = ", ".join(filter(None, (_form(part, least) for part in (*parts, *rest))))
        return f"{_form(head, least)}{': ' if words else ''}{words}"

    return in_one_line(said(_threshold(lambda least: len(said(least)), (head, *parts, *rest), width)))[:width]


def row(progress: Progress, width: int, ascii_only: bool = False) -> list[Piece]:
    """Return progress as the pieces of a row of at most width characters, with a bar where there is room."""
    before: tuple[Part, ...] = (((100, progress.phase),),)
    bar: Part = ((74, "x" * 16), (77, "x" * 8))
    after: tuple[Part, ...] = (
        ((97, _percent(progress)),),
        _amount(progress),
        _rate(progress),
        _average(progress),
        _entries(progress),
        _files(progress),
        _busy(progress),
        _since(progress),
        _left(progress),
    )
    failed = _failed(progress)
    every = (*before, bar, *after, failed)

    def length(least: int) -> int:
        return len("  ".join(filter(None, (_form(part, least) for part in every))))

    least = _threshold(length, every, width)
    room = len(_form(bar, least))
    room = min(_LONGEST_BAR, room + max(0, width - length(least))) if room else 0
    pieces: list[list[Piece]] = [[(in_one_line(_form(part, least)), "")] for part in before]
    pieces.append(_bar(progress, room, _ASCII_BLOCKS if ascii_only else _BLOCKS))
    pieces += [[(_form(part, least), "")] for part in after]
    pieces.append([(_form(failed, least), "failed")])
    return _cut(_joined(pieces), width)


def _form(part: Part, least: int) -> str:
    """Return the longest form of a part that is important enough; "" if none is."""
    return next((text for importance, text in part if importance >= least), "")


def _threshold(length: Callable[[int], int], parts: Sequence[Part], width: int) -> int:
    """Return the lowest importance with which all fits into width; else the highest there is."""
    steps = sorted({0, *(importance for part in parts for importance, _ in part)})
    return next((least for least in steps if length(least) <= width), steps[-1])


def _joined(pieces: list[list[Piece]]) -> list[Piece]:
    """Return all pieces in a row, two blanks between groups that are not empty."""
    joined: list[Piece] = []
    for group in pieces:
        shown = [piece for piece in group if piece[0]]
        if shown:
            joined += [("  ", ""), *shown] if joined else shown
    return joined


def _cut(pieces: list[Piece], width: int) -> list[Piece]:
    """Return as much of pieces as has width characters."""
    kept = []
    for text, style in pieces:
        kept.append((text[:width], style))
        width -= len(kept[-1][0])
    return [piece for piece in kept if piece[0]]


def _bar(progress: Progress, room: int, blocks: tuple[str, str]) -> list[Piece]:
    done, rest = blocks
    if not room:
        return []
    if progress.fraction is None:
        # One that knows no end wanders to and fro, a step in each frame or so.
        ways = max(1, room - _PULSE)
        at = int(progress.seconds * 5) % (2 * ways)
        at = min(at, 2 * ways - at)
        return [(rest * at, "rest"), (done * min(_PULSE, room), "done"), (rest * (room - _PULSE - at), "rest")]
    full = int(room * progress.fraction)
    return [(done * full, "done"), (rest * (room - full), "rest")]


# --- the parts


def _percent(progress: Progress) -> str:
    # Rounded down: 100 % is when all is done.
    return "" if progress.fraction is None else f"{int(100 * progress.fraction)}%"


def _amount(progress: Progress) -> Part:
    """Return what is done of all: bytes, or entries in phases that move none."""
    if progress.phase in _OF_ENTRIES:
        return ((80, f"{_exact(progress)} entries"), (94, f"{_compact(progress)} entries"), (95, _compact(progress)))
    return (
        (80, _of_bytes(progress.bytes, progress.bytes_total, progress.total_known, 2)),
        (94, _of_bytes(progress.bytes, progress.bytes_total, progress.total_known, 1)),
    )


def _rate(progress: Progress) -> Part:
    if progress.phase in _OF_ENTRIES:
        return (
            (80, f"{progress.entries_per_second:,.0f} entries/s"),
            (88, f"{short_count(progress.entries_per_second)}/s"),
        )
    return (
        (80, f"{short_size(progress.bytes_per_second, 2)}/s"),
        (88, f"{short_size(progress.bytes_per_second, 1)}/s"),
    )


def _average(progress: Progress) -> Part:
    if progress.phase in _OF_ENTRIES:
        return ((30, f"average {short_count(progress.average_entries)}/s"),)
    return ((30, f"average {short_size(progress.average_bytes, 2)}/s"),)


def _entries(progress: Progress) -> Part:
    if progress.phase in _OF_ENTRIES:
        return ()
    return ((50, f"{_exact(progress)} entries"), (60, f"{_compact(progress)} entries"))


def _files(progress: Progress) -> Part:
    if progress.phase in _OF_ENTRIES:
        return ()
    return ((20, f"{progress.files_per_second:,.0f} files/s"),)


def _identical(progress: Progress) -> Part:
    if not progress.identical or progress.phase in ("removing", "counting", "verifying", "listing"):
        return ()
    return ((25, f"{progress.identical:,} identical"), (26, f"{short_count(progress.identical)} identical"))


def _busy(progress: Progress) -> Part:
    return ((15, f"{progress.active} of {progress.ranks} ranks busy"), (35, f"{progress.active}/{progress.ranks} busy"))


def _since(progress: Progress) -> Part:
    return ((40, f"{short_duration(progress.seconds)} elapsed"),)


def _left(progress: Progress) -> Part:
    if progress.remaining is not None:
        return ((96, f"{short_duration(progress.remaining)} left"),)
    return () if progress.total_known else ((92, "scanning"),)


def _failed(progress: Progress) -> Part:
    if not progress.failed:
        return ()
    return ((72, f"{progress.failed:,} failed"), (99, f"{short_count(progress.failed)} failed"))


def _exact(progress: Progress) -> str:
    if progress.entries_total == progress.entries and not progress.total_known:
        return f"{progress.entries:,}"  # all that is found is done
    return f"{progress.entries:,} of {progress.entries_total:,}{'' if progress.total_known else '+'}"


def _compact(progress: Progress) -> str:
    if progress.entries_total == progress.entries and not progress.total_known:
        return short_count(progress.entries)
    more = "" if progress.total_known else "+"
    return f"{short_count(progress.entries)} of {short_count(progress.entries_total)}{more}"


def _of_bytes(done: int, total: int, total_known: bool, digits: int) -> str:
    """Return `1.23 of 2.34 GiB`, and `5.00 MiB of 2.34 GiB`; with a + where more may be found."""
    of, more = short_size(total, digits), "" if total_known else "+"
    amount, unit = of.split(" ")
    so_far, its_unit = short_size(done, digits).split(" ")
    if its_unit == unit or not done:
        return f"{so_far} of {amount}{more} {unit}"
    return f"{so_far} {its_unit} of {amount}{more} {unit}"


# --- amounts in few characters


def short_size(count: float, digits: int) -> str:
    """Return a number of bytes with few digits, as `1.23 GiB`, `12.3 GiB` or `123 GiB` (digits: 2)."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    at = 0
    while count >= 999.5 and at < len(units) - 1:  # 1000 KiB are 0.98 MiB: never more than three digits
        count, at = count / 1024, at + 1
    return f"{_three(count, digits if at else 0)} {units[at]}"


def short_count(count: float) -> str:
    """Return a number with few digits, as `999`, `1.23k`, `12.3M`, `1.00G`."""
    at = 0
    while count >= 999.5 and at < 5:
        count, at = count / 1000, at + 1
    return f"{_three(count, 2 if at else 0)}{('', 'k', 'M', 'G', 'T', 'P')[at]}"


def _three(count: float, digits: int) -> str:
    """Return a number with three digits at most, of these so many behind the point."""
    return f"{count:.{min(digits, 2 if count < 9.995 else 1 if count < 99.95 else 0)}f}"


def short_duration(seconds: float) -> str:
    """Return seconds in six characters at most: `12s`, `3m12s`, `2h05m`, `3d04h`, `120d`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days < 100 else f"{min(days, 99_999)}d"
