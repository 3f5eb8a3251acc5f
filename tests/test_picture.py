"""The picture of the speed in docs/performance.md shows the figures of its table, and losses as well."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.bench.picture import DOCUMENT, PICTURE, drawn, races


def test_the_picture_is_that_of_the_table() -> None:
    """Made anew by `python -m tests.bench.picture`."""
    assert PICTURE.read_text() == drawn(races(DOCUMENT.read_text()))
    ElementTree.fromstring(PICTURE.read_text())


def test_it_shows_what_is_lost_too() -> None:
    found = {race.what: race for race in races(DOCUMENT.read_text())}
    assert found["copy 200,000 files of 4 KiB, tmpfs"].ratio < 1
    again = found["re-sync 200,000 files of 4 KiB, nothing changed, default"]
    assert (again.ours, again.best, again.who) == (1.78, 0.68, "rsync -a") and again.ratio > 2
    assert found["remove 1,000,000 files of 4 KiB, tmpfs, -rm -rf"].who == "rm -rf"
    assert "one tiny file: start-up" not in found, "cp takes no time that could be shown"


@pytest.mark.parametrize("picture", sorted(DOCUMENT.parent.glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_is_whole_and_loads_nothing(picture: Path) -> None:
    """The bar's is made anew by `python tests/picture_of_bar.py`."""
    ElementTree.fromstring(picture.read_text())
    assert "url(http" not in picture.read_text() and "href" not in picture.read_text()
