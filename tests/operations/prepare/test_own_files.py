"""The ledger, the report and the lists of a run are not what it removes or replaces, whatever it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpcp_mpi.operations.prepare.own_files import Own, outside, own_files, refuse
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Request, Verb
from tests.support.copies import PLAIN
from tests.support.launch import World
from tests.support.marks import needs_root


@pytest.fixture
def place(on_tmpfs: Path) -> Path:
    for name in ("src", "dst", "dst/sub"):
        (on_tmpfs / name).mkdir()
    (on_tmpfs / "src/a").write_text("a")
    (on_tmpfs / "src/list").write_text("a\n")
    return on_tmpfs


REFUSED = {
    "a mirror and its ledger": ("-rme -rf src/ -d dst/ --ledger dst/x.led", "which is made a mirror"),
    "a mirror and its report": ("-rme -rf src/ -d dst/ --json dst/sub/x.json", "which is made a mirror"),
    "a move and its ledger": ("-rm -rf src/ -d dst/ --ledger src/x.led", "which is to be moved"),
    "a move and its report": ("-rm -rf src/ -d dst/ --json src/x.json", "which is to be moved"),
    "a removal and its ledger": ("-rm -rf dst --ledger dst/sub/x.led", "which is to be removed"),
    "a removal and its report": ("-rm -rf src dst --json dst/x.json", "which is to be removed"),
    "the report itself": ("-rm -rf src/a --json src/a", "which is to be removed"),
    "through a link": ("-rm -rf dst --json link/x.json", "which is to be removed"),
    "a copy over the report": ("src/ -d dst/ --json dst/a", "would land on the report"),
    "a copy over the ledger": ("src/ -d dst/ --ledger dst/a", "would land on the ledger"),
    "a copy over the list": ("-sfl dst/list -nhfl src -d dst", "would land on the list"),
    "one file for two": ("src/ -d dst/ --ledger dst/sub/x --json link/x", "name the same file"),
    "the journal for another": ("src/ -d dst/ --ledger x --json x-journal", "is the ledger and the report"),
    "a list and a report": ("-fl dst/sub/x src --json link/x", "name the same file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_known_before_is_refused_before_anything_is_done(what: str, place: Path) -> None:
    line, words = REFUSED[what]
    (place / "link").symlink_to("dst/sub")
    (place / "dst/list").write_text("a\n")
    before = sorted(os.walk(place))
    done = PLAIN.run(line.split(), cwd=place)
    assert done.returncode == 2 and words in done.stderr, done
    assert sorted(os.walk(place)) == before


ALLOWED = {
    "excluded": "-rme -rf -e *.led -e sub src/ -d dst/ --ledger dst/x.led",
    "beside": "-rm -rf src/ -d dst/ --ledger x.led --json x.json",
    "in a destination that only grows": "src/ -d dst/ --ledger dst/x.led --json dst/x.json",
    "in a source that stays": "src/ -d dst/ --ledger src/x.led",
}


@pytest.mark.parametrize("what", ALLOWED)
def test_what_does_no_harm_is_not_refused(what: str, place: Path) -> None:
    done = PLAIN.run(ALLOWED[what].split(), cwd=place)
    assert done.returncode == 0, done
    ledger = place / ALLOWED[what].partition("--ledger ")[2].split()[0]
    assert PLAIN.run(["--status", ledger]).check().stdout.count("state: ended, exit code 0") == 1


@needs_root
@pytest.mark.parametrize("world", [PLAIN, World("mpich", 3)], ids=str)
def test_what_comes_to_lie_in_the_way_meanwhile_is_kept(world: World, place: Path) -> None:
    """A hard link to the report's file stands for a directory that is renamed into the tree while the run goes on: the
    paths show nothing, the inode does. The mirror's own question comes between."""
    if world.missing():
        pytest.skip(str(world.missing()))
    (place / "out").mkdir()
    report = place / "out/x.json"
    report.write_text("old")
    os.link(report, place / "dst/sub/x.json")
    (place / "dst/sub/other").write_text("extra")
    done = world.run(["-rme", "-rf", f"{place}/src/", "-d", f"{place}/dst/", "--json", report])
    assert done.returncode == 23 and "it is a file of this run" in done.stderr, done
    assert sorted(os.listdir(place / "dst/sub")) == ["x.json"]


def test_backups_of_earlier_runs_stay_beside_those_of_this_one(place: Path) -> None:
    run = ["-rme", "-rf", f"{place}/src/", "-d", f"{place}/dst/", "--backup-dir"]
    PLAIN.run([*run, "old/1"]).check()
    (place / "dst/old/empty").mkdir()
    (place / "dst/old/1/kept").write_text("kept")
    (place / "dst/extra").write_text("extra")
    PLAIN.run([*run, "old/2"]).check()
    assert sorted(os.listdir(place / "dst/old")) == ["1", "2", "empty"]
    assert (place / "dst/old/1/kept").read_text() == "kept" and os.listdir(place / "dst/old/2") == ["extra"]


def test_a_file_system_that_is_seen_at_two_paths_is_known_by_its_inodes(place: Path) -> None:
    """Here by a symlink above; a bind mount is the same to this check."""
    (place / "other").symlink_to(place)
    request = Request(Verb.REMOVE, (os.fsencode(place / "other/dst"),), options=Options())
    own = own_files(request, os.fsencode(place / "dst/sub/x.led"), None)
    assert own == [Own("the ledger", os.fsencode(place / "dst/sub/x.led"), True)]
    with pytest.raises(UsageError, match="is to be removed"):
        refuse(request, own)


INSIDE = {
    "a source": ("src", "dst", {}),
    "a destination": ("other", "src", {}),
    "a link to the destination": ("other", "link", {}),
    "the directory of a list": ("link", "dst", {"source_list": b"x"}),
    "the working directory of a list": ("", "dst", {"source_list": b"x"}),
    "the list that is read": ("other", "dst", {"source_list": b"link/deep/run.list"}),
    "all": ("/", "dst", {}),
    "by a pattern": ("s*c", "dst", {}),
}


@pytest.mark.parametrize("what", INSIDE)
def test_a_file_that_nobody_named_lies_in_no_tree_of_the_run(
    what: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination, more = INSIDE[what]
    (place / "src/deep").mkdir()
    (place / "other").mkdir()
    (place / "link").symlink_to("src")
    (place / "src/deep/run.list").write_text("")
    monkeypatch.chdir(place / "src" if not source else place)
    sources = (source.encode(),) if source else ()
    destinations = (bytes(place / destination),)
    path, beside = bytes(place / "src/deep/run.list"), bytes(place / "else/run.list")
    found = outside([path, beside], Request(Verb.COPY, sources, destinations, **more))  # type: ignore[arg-type]
    assert found == ([] if what == "all" else [beside])


def test_a_tree_of_which_only_a_link_is_copied_is_none_of_the_run(place: Path) -> None:
    (place / "link").symlink_to("src")
    path = bytes(place / "src/run.list")
    assert outside([path], Request(Verb.COPY, (bytes(place / "link"),), (bytes(place / "dst"),))) == [path]
