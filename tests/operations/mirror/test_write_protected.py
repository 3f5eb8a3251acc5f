"""Own write-protected directories: a mirror and a move remove what is in them, as rsync does, and `-rm` does not."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.copies import copy
from tests.support.marks import needs_commands, needs_root
from tests.support.trees import Dir, File, Node, build

pytestmark = needs_commands("rsync")
T = 1_600_000_000 * 10**9
SHUT: dict[str, Node] = {
    "d": Dir(
        {"a": File(b"a", mtime_ns=T), "e": Dir({"b": File(b"b", mtime_ns=T)}, mode=0o555, mtime_ns=T)},
        mode=0o555,
        mtime_ns=T,
    ),
    "open": File(b"o", mtime_ns=T),
}


@pytest.fixture
def home(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", SHUT)
    subprocess.run(["cp", "-a", on_tmpfs / "src", on_tmpfs / "dst"], check=True)
    subprocess.run(["chown", "-R", "nobody:", on_tmpfs], check=True)
    return on_tmpfs


@needs_root
@pytest.mark.parametrize("how", [(), ("-pfl",), ("--backup-dir", "kept")])
def test_a_mirror_removes_from_them_and_they_stay_as_they_are(how: tuple[str, ...], home: Path) -> None:
    (home / "src/d/e/b").unlink()
    shutil.rmtree(home / "src/open", ignore_errors=True)
    extra = home / "dst/d/extra"
    extra.mkdir(mode=0o555)
    os.chmod(extra, 0o755)
    (extra / "x").write_bytes(b"x")
    os.chmod(extra, 0o555)
    for path in (extra, extra / "x"):
        shutil.chown(path, home.stat().st_uid, home.stat().st_gid)
    for path in (home / "src/d", home / "src/d/e", home / "dst/d"):
        os.utime(path, ns=(T, T))
    judge = home / "judge"
    subprocess.run(["cp", "-a", home / "dst", judge], check=True)
    rsync = ["rsync", "-a", "--delete", f"{home}/src/", f"{judge}/"]
    subprocess.run(rsync, check=True, user="nobody", cwd="/")
    copy("-rme", "-rf", *how, home / "src", home / "dst", user="nobody")
    if how == ("--backup-dir", "kept"):
        assert (home / "dst/kept/d/extra/x").read_bytes() == b"x" and (home / "dst/kept/d/e/b").read_bytes() == b"b"
        subprocess.run(["rm", "-rf", home / "dst/kept"], check=True)
        subprocess.run(["touch", "-r", home / "src", home / "dst"], check=True)
    oracle.assert_equal_trees(judge, home / "dst")
    assert stat.S_IMODE((home / "dst/d").stat().st_mode) == 0o555


@needs_root
def test_a_move_empties_them_and_what_stays_keeps_its_mode(home: Path) -> None:
    copy("-rm", "-rf", "-e", "b", home / "src", "-d", home / "moved", user="nobody")
    assert sorted(os.listdir(home / "src/d")) == ["e"] and os.listdir(home / "src/d/e") == ["b"]
    assert [stat.S_IMODE((home / "src" / path).stat().st_mode) for path in ("d", "d/e")] == [0o555, 0o555]
    copy("-rm", "-rf", home / "src", "-d", home / "moved", user="nobody")
    assert not (home / "src").exists() and (home / "moved/d/e/b").read_bytes() == b"b"


@needs_root
def test_removing_alone_leaves_them_as_rm_does(home: Path) -> None:
    copy("-rm", "-rf", home / "src", user="nobody", code=23)
    assert (home / "src/d/e/b").exists() and not (home / "src/open").exists()
