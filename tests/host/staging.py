"""What tests of stages need: somebody who is told, and a directory by its descriptor."""

from __future__ import annotations

notes: list[tuple[bytes, str]] = []  # what remark was told in this test


def remark(path: bytes, note: str) -> None:
    notes.append((path, note))
