"""Lines of what is changed are as many as the entries: they are sorted on the way, and not held in the report."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

import hpcp_mpi
from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.engine import sorted_items
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.engine.sorted_items import SortedItems
from hpcp_mpi.host.external_sort import ExternalSort
from hpcp_mpi.operations import session
from hpcp_mpi.operations.copy.rank0 import lead_copy
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Request, Verb
from tests.support.trees import Dir, File, HardLink, build


@pytest.mark.parametrize("parallel", [False, True], ids=["rank-0-lists", "all-list"])
def test_lines_are_sorted_and_the_report_holds_none(
    parallel: bool, on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_items, "ExternalSort", lambda: ExternalSort(10))
    tree = {f"d{i}": Dir({f"f{j}": File(b"x") for j in range(20)}) for i in range(10)}
    build(on_tmpfs / "src", {**tree, "twin": HardLink("d1/f1"), "x": Dir({"twin": HardLink("d1/f1")})})
    items, stop = SortedItems(), StopRequest()
    options = Options(dry_run=True, itemize=True, parallel_listing=parallel, chunk_size=1, chunk_files=1)
    source, dest = (os.fsencode(on_tmpfs / name) for name in ("src", "dst"))
    request = Request(Verb.COPY, (source,), (dest,), options)
    with session.lead(None, stop) as ranks:
        report = lead_copy(ranks.wire, request, Frontend(stop, items=items))
    assert report.outcome.items == []
    paths = [path for _, path, _ in items]
    assert paths == sorted(paths) and len(set(paths)) == len(paths) == 10 * 21 + 4
    assert Counter(change[:2] for change, _, _ in items) == {">f": 200, "cd": 12, "hf": 2}
    assert not (on_tmpfs / "dst").exists()


def test_without_somebody_to_take_them_they_are_in_the_report(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"f": File(b"x"), "d": Dir()})
    report = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst", dry_run=True, itemize=True)
    assert {path for _, path, _ in report.outcome.items} == {b"f", b"d/", b"./"}


def test_a_name_that_was_copied_and_then_linked_has_one_line() -> None:
    items = SortedItems()
    items.add([("hf+++++++++", b"b", b"a"), (">f+++++++++", b"a", b""), (">f+++++++++", b"b", b"")])
    assert list(items) == [(">f+++++++++", b"a", b""), ("hf+++++++++", b"b", b"a")]
