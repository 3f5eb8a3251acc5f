"""Patterns and names inside of images: a mount is as if it was the root, and is called by its image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcp_mpi.host.block.mounts import MountRoom
from hpcp_mpi.operations.imaging import rank0
from hpcp_mpi.operations.imaging.run import inside, outside, with_patterns_inside
from hpcp_mpi.operations.imaging.shown import Shown, rename_report
from hpcp_mpi.rules.excludes import Excludes, literal
from hpcp_mpi.vocab.errors import Failure, FatalError, UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import one_file


@dataclass
class _Room:
    path: bytes


def room(path: bytes) -> MountRoom:
    return cast(MountRoom, _Room(path))


ROOM = room(b"/tmp/hpcp-mpi.images.ab_12")
NAMES = st.lists(st.sampled_from([b"a", b"b", b"tmp", b"00", b"[x]", b"a*", b"\n", b"\xff"]), min_size=1, max_size=4)
PIECES = st.sampled_from(
    [b"a", b"b", b"*", b"?", b"/", b"tmp", b"00", b"[a-b]", b"[", b".", b"..", b"\xff", b"\n", b"!"]
)
PATTERNS = st.lists(PIECES, min_size=1, max_size=6).map(b"".join)


@given(PATTERNS, NAMES, st.booleans(), st.sampled_from([b"/tmp/hpcp-mpi.images.ab_12", b"/[*]?/t.m p/x"]))
@example(b"/*", [b"a"], False, b"/r")
@example(b"tmp", [b"a"], True, b"/tmp/r")
@example(b"*/tmp/*", [b"tmp", b"a"], True, b"/tmp/r")
@example(b"00", [b"a", b"00"], True, b"/r")
def test_a_pattern_matches_in_a_mount_what_it_would_match_if_that_was_the_root(
    pattern: bytes, names: list[bytes], is_directory: bool, path: bytes
) -> None:
    entry = b"/" + b"/".join(names)
    (moved,) = inside([pattern], room(path))
    plain = Excludes([pattern])(entry, is_directory)
    assert Excludes([moved])(path + b"/07" + entry, is_directory) == plain


@given(PATTERNS)
@example(b"*")
@example(b"tmp")
@example(b"/")
@example(b"..")
def test_a_pattern_matches_no_mount_itself_and_nothing_outside(pattern: bytes) -> None:
    moved = Excludes(inside([pattern], ROOM))
    for entry in (b"/tmp", ROOM.path, ROOM.path + b"/00", b"/tmp/a", b"/a/b", b"/srv/tmp/hpcp-mpi.images.ab_12/00/a"):
        assert not moved(entry, True), entry


@given(st.lists(PATTERNS, unique=True, max_size=5))
def test_patterns_that_matched_nothing_are_named_as_they_were_given(patterns: list[bytes]) -> None:
    options = Options(excludes=tuple(patterns), optional_excludes=(b"may",))
    moved = with_patterns_inside(options, ROOM)
    assert len(moved.excludes) == len(patterns)
    assert moved.optional_excludes == inside([b"may"], ROOM)
    named = outside(frozenset(moved.excludes), options, ROOM)
    assert named is not None
    assert named <= set(patterns)
    assert {inside([each], ROOM) for each in named} == {inside([each], ROOM) for each in patterns}
    assert outside(None, options, ROOM) is None


@given(st.binary(min_size=1).filter(lambda path: b"\0" not in path and b"/" not in path))
def test_a_literal_pattern_matches_one_path(name: bytes) -> None:
    path = b"/dir/" + name
    if name not in (b".", b".."):
        excluded = Excludes([literal(path)])
        assert excluded(path, False)
        assert not excluded(path + b"x", False)
        assert not excluded(b"/dir/x" + name, False)


SHOWN = Shown({b"/tmp/r/00": b"x.img:", b"/tmp/r/01": b"dir/\xff.img:root:"})


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"/tmp/r/00", b"x.img:/"),
        (b"/tmp/r/00/etc/passwd", b"x.img:/etc/passwd"),
        (b"/tmp/r/01/a", b"dir/\xff.img:root:/a"),
        (b"/tmp/r/001/a", b"/tmp/r/001/a"),
        (b"/srv/tmp/r/00", b"/srv/tmp/r/00"),
    ],
)
def test_a_path_in_a_mount_is_shown_as_one_in_its_image(path: bytes, shown: bytes) -> None:
    assert SHOWN.path(path) == shown


def test_texts_and_errors_name_the_image_and_stay_printable() -> None:
    assert SHOWN.text("cp: /tmp/r/01/a: no") == "cp: dir/\\xff.img:root:/a: no"
    error = SHOWN.renamed(UsageError("/tmp/r/00/a and /tmp/r/01/a", "see /tmp/r/00"))
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert (error.message, error.remedy) == ("x.img:/a and dir/\\xff.img:root:/a", "see x.img:")
    assert str(SHOWN.renamed(FatalError("a"))) == "a"


def test_a_report_names_images_everywhere() -> None:
    report = Report(sources=[b"/tmp/r/00"], destination=b"/out", destinations=[b"/out", b"/tmp/r/01"])
    report.outcome.failures.append(Failure(b"/tmp/r/00/a", "cp: /tmp/r/00/a: bad", attempted=one_file(7)))
    report.outcome.warn(b"/tmp/r/01/b", "like /tmp/r/01/c")
    renamed = rename_report(report, SHOWN)
    assert renamed.sources == [b"x.img:/"]
    assert renamed.destinations == [b"/out", b"dir/\xff.img:root:/"]
    assert renamed.failures == [Failure(b"x.img:/a", "cp: x.img:/a: bad", attempted=one_file(7))]
    assert renamed.outcome.notes == [(b"dir/\xff.img:root:/b", "like dir/\\xff.img:root:/c")]


def test_what_fails_below_a_mount_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with errors may fail in every call, also where nobody expects it."""

    def fails(run: object) -> NoReturn:
        os.stat(b"/nowhere/00/deep")
        raise AssertionError

    monkeypatch.setattr(rank0, "_leader", lambda run: fails)
    run: Any = SimpleNamespace(shown=Shown({b"/nowhere/00": b"a.img:"}))
    with pytest.raises(FatalError) as failed:
        rank0._led(run)
    assert failed.value.message == "the run cannot go on: a.img:/deep: No such file or directory"
    assert "dmesg" in failed.value.remedy
