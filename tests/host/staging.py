"""Helpers of the tests of stages: a list of remarks, and a directory by its descriptor."""

from __future__ import annotations

notes: list[tuple[bytes, str]] = []  # the remarks of this test


def remark(path: bytes, note: str) -> None:
    notes.append((path, note))
