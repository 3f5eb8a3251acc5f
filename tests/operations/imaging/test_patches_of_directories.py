"""Patches: a tree that one is applied to is the new tree; what does not fit is not changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hpcp_mpi.operations.imaging.patch import mark as patch_mark
from hpcp_mpi.operations.imaging.patch.changes import Changes
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.options import Options
from tests.operations.imaging.patched import TABLES, apply_patches, copy_of, differences, make_patch
from tests.support.effort import many
from tests.support.small_trees import T, Tree, meddle, trees
from tests.support.trees import Dir, File, HardLink, Symlink, build

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # an example takes long: to make it smaller takes minutes
OLD: Tree = {
    "same": File(b"same", mtime_ns=T),
    "changed": File(b"old", mtime_ns=T),
    "gone": Dir({"a": File(b"a"), "deep": Dir({"b": File(b"b")})}),
    "kind": Dir({"inside": File(b"inside")}),
    "link": Symlink("old"),
    "dir": Dir({"kept": File(b"kept")}, mtime_ns=T),
}
NEW: Tree = {
    "same": File(b"same", mtime_ns=T),
    "changed": File(b"new one", mtime_ns=T + 5, mode=0o600),
    "kind": File(b"a file now", mtime_ns=T),
    "link": Symlink("new"),
    "dir": Dir({"kept": File(b"kept"), "added": File(b"added", mtime_ns=T)}, mode=0o2750, mtime_ns=T + 7),
    "more": Dir({"x": File(b"x" * 9999, mtime_ns=T), "twin": HardLink("more/x")}, mode=0o711, mtime_ns=T + 8),
}


@pytest.fixture
def places(tmp_path: Path) -> Path:
    build(tmp_path / "new", NEW)
    build(tmp_path / "base", OLD)
    for path in ("dir/kept", "dir/kept"):
        shutil.copystat(tmp_path / "base" / path, tmp_path / "new" / path)
    os.utime(tmp_path / "new/dir", ns=(T, T + 7))
    copy_of(tmp_path / "base", tmp_path / "target")
    return tmp_path


def patch(places: Path) -> Path:
    return make_patch(places / "new", places / "base", places / "patch")


@settings(max_examples=many(30), phases=PHASES)
@given(data=st.data(), tree=trees())
def test_a_tree_becomes_the_new_one_and_stays_so(data: st.DataObject, tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        build(top / "base", tree)
        copy_of(top / "base", top / "new")
        meddle(data.draw, top / "new")
        copy_of(top / "base", top / "target")
        made = make_patch(top / "new", top / "base", top / "patch")
        assert differences(top / "base", top / "target") == ""
        apply_patches([made], top / "target")
        assert differences(top / "new", top / "target") == ""
        report = apply_patches([made], top / "target")
        assert not report.outcome.copied and not report.outcome.removed and not report.failures
        assert differences(top / "new", top / "target") == ""


@settings(max_examples=many(6), phases=PHASES)
@given(data=st.data(), tree=trees())
def test_two_patches_lead_from_the_first_tree_to_the_third(data: st.DataObject, tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        build(top / "0", tree)
        for number in (1, 2):
            copy_of(top / f"{number - 1}", top / f"{number}")
            meddle(data.draw, top / f"{number}")
            make_patch(top / f"{number}", top / f"{number - 1}", top / f"p{number}")
        both = [top / "p1", top / "p2"]
        for begins in (0, 1, 2):
            target = copy_of(top / f"{begins}", top / f"target{begins}")
            apply_patches(both, target)
            assert differences(top / "2", target) == ""


def test_patches_in_the_wrong_order_change_nothing(places: Path) -> None:
    first = patch(places)
    copy_of(places / "new", places / "newer")
    (places / "newer/changed").write_bytes(b"and once more")
    second = make_patch(places / "newer", places / "new", places / "second")
    with pytest.raises(FatalError, match="do not follow each other"):
        apply_patches([second, first], places / "target")
    assert differences(places / "base", places / "target") == ""


def test_trees_that_are_equal_make_a_patch_without_rows(places: Path) -> None:
    made = make_patch(places / "base", places / "target", places / "patch")
    rows = [line for table in TABLES for line in (made / ".hpcp_diff" / table).read_text().splitlines()]
    assert all(line.startswith("#") for line in rows)
    apply_patches([made], places / "target")
    assert differences(places / "base", places / "target") == ""


CONFLICTS = {
    "changed": lambda top: (top / "changed").write_bytes(b"mine"),
    "changed's mode": lambda top: (top / "changed").chmod(0o640),
    "changed, missing": lambda top: (top / "changed").unlink(),
    "gone/a": lambda top: (top / "gone/a").write_bytes(b"still of use"),
    "gone/new": lambda top: (top / "gone/new").write_bytes(b"nobody knows this"),
    "more": lambda top: (top / "more").write_bytes(b"not a directory"),
    "dir/added": lambda top: (top / "dir/added").mkdir(),
    "dir": lambda top: (top / "dir").chmod(0o700),
    "link": lambda top: ((top / "link").unlink(), (top / "link").symlink_to("third")),
    "kind": lambda top: (top / "kind/other").mkdir(),
}


@pytest.mark.parametrize("conflict", CONFLICTS)
def test_a_conflict_is_named_and_nothing_is_changed_unless_forced(places: Path, conflict: str) -> None:
    made, target = patch(places), places / "target"
    CONFLICTS[conflict](target)
    before, said = copy_of(target, places / "before"), list[str]()
    with pytest.raises(FatalError, match="-fa") as error:
        apply_patches([made], target, said=said)
    assert error.value.exit_code == 1
    path = conflict.partition("'")[0].partition(",")[0]
    assert any(f"conflict: {path.removesuffix('/new')}:" in line for line in said), said
    assert differences(before, target) == ""
    apply_patches([made], target, force=True)
    assert differences(places / "new", target) == ""


def test_what_the_patch_does_not_name_stays_as_it_is(places: Path) -> None:
    made, target = patch(places), places / "target"
    (target / "same").write_bytes(b"changed here")
    (target / "own").mkdir()
    apply_patches([made], target)
    assert (target / "same").read_bytes() == b"changed here" and (target / "own").is_dir()
    assert (target / "changed").read_bytes() == b"new one"


def test_a_dry_run_changes_nothing(places: Path) -> None:
    said: list[str] = []
    apply_patches([patch(places)], places / "target", options=Options(dry_run=True), said=said)
    assert differences(places / "base", places / "target") == ""
    assert any("nothing was changed" in line for line in said)


def test_the_mark_is_stored_with_its_name_before_anything_is_changed(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = patch(places)
    stored: list[bool] = []

    def fsync(fd: int) -> None:
        if os.path.samestat(os.fstat(fd), os.stat(places / "target")):
            stored.append((places / "target" / os.fsdecode(patch_mark.NAME)).exists())

    def remove(changes: Changes) -> None:
        assert stored == [True]
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Changes, "remove", remove)
    with pytest.raises(KeyboardInterrupt):
        apply_patches([made], places / "target")


@pytest.mark.parametrize("at", ["remove", "make_directories", "copy", "settle"])
@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_ended_in_between_goes_on(
    places: Path, monkeypatch: pytest.MonkeyPatch, at: str, before: bool
) -> None:
    made, target, whole = patch(places), places / "target", getattr(Changes, at)

    def ended(*arguments: object) -> object:
        if not before:
            whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Changes, at, ended)
    with pytest.raises(KeyboardInterrupt):
        apply_patches([made], target)
    monkeypatch.undo()
    assert (target / os.fsdecode(patch_mark.NAME)).exists()
    apply_patches([made], target)
    assert differences(places / "new", target) == ""


def test_another_patch_is_not_applied_over_one_that_did_not_end(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, target = patch(places), places / "target"
    other = make_patch(places / "base", places / "new", places / "back")

    def ended(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Changes, "settle", ended)
    with pytest.raises(KeyboardInterrupt):
        apply_patches([made], target)
    monkeypatch.undo()
    with pytest.raises(FatalError, match="another patch was being applied"):
        apply_patches([other], target)


DAMAGES = {
    "../out": b"A\t../out\t-\tf:1:0:100644:0:0:-:-\n",
    "/etc/x": b"A\t/etc/x\t-\tf:1:0:100644:0:0:-:-\n",
    "a//b": b"A\ta//b\t-\tf:1:0:100644:0:0:-:-\n",
    "empty": b"A\t\t-\tf:1:0:100644:0:0:-:-\n",
    "dot": b"D\tdir/./kept\tf:4:0:100644:0:0:-:-\t-\n",
    "the root": b"D\t./\td:40755:0:0:-\t-\n",
    "its own directory": b"A\t.hpcp_diff/x\t-\tf:1:0:100644:0:0:-:-\n",
    "two rows": b"M\tchanged\tf:3:0:100644:0:0:-:-\tf:1:0:100644:0:0:-:-\n",
    "a state of another type": b"D\tsame/\tf:4:0:100644:0:0:-:-\t-\n",
    "an unknown state": b"D\tsame\tx:4\t-\n",
    "an unknown escape": b"D\tsa\\me\tl:x\t-\n",
    "no row": b"D\tsame\n",
    "below a file": b"A\tchanged/x\t-\tl:x\n",
    "no payload": b"A\tnever\t-\tl:x\n",
    "a negative size": b"D\tsame\tf:-4:0:100644:0:0:-:-\t-\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_patch_is_refused_even_when_forced_before_anything_is_changed(places: Path, damage: str) -> None:
    made = patch(places)
    with open(made / ".hpcp_diff/changes.tsv", "ab") as file:
        file.write(DAMAGES[damage])
    for force in (False, True):
        with pytest.raises(FatalError, match="damaged"):
            apply_patches([made], places / "target", force=force)
    assert differences(places / "base", places / "target") == ""
    assert not (places / "out").exists()


def test_a_symlink_on_the_way_is_never_followed(places: Path) -> None:
    made, target = patch(places), places / "target"
    shutil.rmtree(target / "dir")
    (places / "outside").mkdir()
    (target / "dir").symlink_to(places / "outside")
    with pytest.raises(FatalError):
        apply_patches([made], target)
    assert not os.listdir(places / "outside")
    apply_patches([made], target, force=True)  # the patch has a row of it: it becomes a directory
    assert not os.listdir(places / "outside") and (target / "dir").is_dir() and not (target / "dir").is_symlink()


def test_a_symlink_that_no_row_is_of_is_not_followed_even_when_forced(tmp_path: Path) -> None:
    build(tmp_path / "base", {"dir": Dir({"below": Dir({"f": File(b"old")})})})
    copy_of(tmp_path / "base", tmp_path / "new")
    (tmp_path / "new/dir/below/f").write_bytes(b"newer")
    made = make_patch(tmp_path / "new", tmp_path / "base", tmp_path / "patch")
    copy_of(tmp_path / "base", tmp_path / "outside")
    target = copy_of(tmp_path / "base", tmp_path / "target")
    shutil.rmtree(target / "dir")
    (target / "dir").symlink_to(tmp_path / "outside/dir")
    for force in (False, True):
        with pytest.raises(FatalError, match="through the symlink dir"):
            apply_patches([made], target, force=force)
    assert (tmp_path / "outside/dir/below/f").read_bytes() == b"old"


def test_a_payload_that_is_not_what_the_rows_say_is_not_applied(places: Path) -> None:
    made = patch(places)
    status = (made / "changed").stat()
    (made / "changed").write_bytes(b"evil 123"[: status.st_size])
    os.utime(made / "changed", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(FatalError, match=r"damaged.*changed"):
        apply_patches([made], places / "target", force=True)
    assert differences(places / "base", places / "target") == ""
