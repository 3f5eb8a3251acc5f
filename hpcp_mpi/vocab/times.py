"""Times in words that programs read."""

from datetime import datetime, timezone


def iso(seconds: float | None) -> str | None:
    """Return seconds since 1970 as `2026-01-31T08:15:30.123Z`; None for none, or for what no calendar has."""
    if seconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None  # a ledger may say anything
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
