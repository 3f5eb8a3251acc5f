"""The commands that documents show: each block marked `sh` is run as it stands there, on small trees, and judged.

Paths such as /scratch are put into a directory of the test. One process does what stands behind `mpiexec -n 4`, as
starting ranks takes long; README's command with ranks has them.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import launch, oracle
from tests.support.marks import needs_commands
from tests.support.trees import Dir, File, HardLink, Symlink, build

pytestmark = needs_commands("rsync")
ROOTS = ("scratch", "project", "data", "mirror", "new", "disk1", "disk2")
REFUSAL = re.compile(r"(?m)^\$ (hpcp-mpi .*)\n((?:hpcp-mpi: .*\n)(?:  .*\n)*)")
BLOCK = re.compile(r"(?ms)^```sh\n(.*?)^```$")
PYTHON = re.compile(r"(?ms)^```python\n(.*?)^```$")
A_ROOT = re.compile(rf"(?<![\w.])/(?=(?:{'|'.join(ROOTS)})(?:/|\b))")


def blocks(name: str) -> list[str]:
    found = BLOCK.findall((launch.REPOSITORY / name).read_text())
    assert found, "no block is marked"
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with what the documents name."""
    run = {"a.dat": File(b"a" * 9000), "b.tmp": File(b"b"), "cache": Dir({"c": File(b"c")}), "link": Symlink("a.dat")}
    old = {"old": Dir({"o": File(b"o")}), "twin": HardLink("run1/a.dat")}
    project = {"x.h5": File(b"x", mtime_ns=5), "deep": Dir({"y.h5": File(b"yy"), "z": File(b"z")})}
    scratch = {"run1": Dir({**run, **old}), "run3": Dir({"m": File(b"m")}), "old1": Dir({"f": File(b"f")})}
    build(tmp_path / "scratch", scratch)
    build(tmp_path / "data", {"proj": Dir(project)})
    for root in ("project", "mirror", "new", "disk1", "disk2"):
        (tmp_path / root).mkdir()
    return tmp_path


def run(block: str, place: Path, ranks: str = 'shift 2; "$@"') -> None:
    """Run a block in a directory. ranks: what mpiexec does"""
    command, environment = launch.command_line([], flavour="plain")
    tool = " ".join(os.fsdecode(word) for word in command)
    functions = f'hpcp-mpi() {{ {tool} "$@"; }}; mpiexec() {{ {ranks}; }}; cd {place}; set -e\n'
    words = ["bash", "-c", functions + A_ROOT.sub(f"{place}/", block)]
    done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


def test_the_commands_of_the_readme_do_what_it_says(place: Path) -> None:
    (block,) = blocks("README.md")
    run(block, place, 'command mpiexec "$@"')
    oracle.assert_equal_trees(place / "scratch/run1", place / "project/run1")
    oracle.assert_equal_trees(place / "data/proj", place / "mirror/proj")
    assert sorted(os.listdir(place / "scratch")) == ["run1", "run3"]


def test_the_commands_of_the_guide_do_what_it_says(place: Path) -> None:
    (place / "mirror/proj").mkdir()
    (place / "mirror/proj/extra").write_text("extra")
    for block in blocks("docs/guide.md"):
        run(block, place)
    for copy in ("project/run1", "project/all/run1", "project/verified", "project/gently"):
        oracle.assert_equal_trees(place / "scratch/run1", place / copy)
    assert {path.name for path in (place / "project/run2").iterdir()} == {"a.dat", "link", "twin"}
    oracle.assert_equal_trees(place / "data/proj", place / "mirror/proj")
    assert (place / "mirror/gone/extra").read_text() == "extra"
    assert sorted(os.listdir(place / "scratch")) == ["run1"] and (place / "project/run3/m").exists()
    assert sorted(os.listdir(place / "new/h5")) == ["deep", "x.h5"]


def test_the_commands_for_resuming_do_what_is_said_of_them(place: Path) -> None:
    for block in blocks("docs/failures.md"):
        run(block, place)
    oracle.assert_equal_trees(place / "scratch/run1", place / "project/run1")


def test_what_is_refused_is_refused_in_the_words_that_are_shown(place: Path) -> None:
    (place / "proj").mkdir()
    shown = REFUSAL.findall((launch.REPOSITORY / "docs/from-rsync.md").read_text())
    for command, said in shown:
        done = launch.run(command.split()[1:], flavour="plain", cwd=place)
        assert (done.returncode, done.stdout + done.stderr) == (2, said)
    assert len(shown) == 3


@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_what_is_shown_of_python_works(name: str, place: Path) -> None:
    (place / "mirror/proj").mkdir()
    code = "\n".join(PYTHON.findall((launch.REPOSITORY / name).read_text()))
    assert "hpcp_mpi.copy(" in code
    program = place / "program.py"
    program.write_text(A_ROOT.sub(f"{place}/", code))
    done = launch.run([], flavour="plain", cwd=place, python_args=(os.fspath(program),)).check()
    assert {path.name for path in (place / "project/run1").iterdir()} == {"a.dat", "cache", "link", "old", "twin"}
    if name != "README.md":
        oracle.assert_equal_trees(place / "data/proj", place / "mirror/proj")
        oracle.assert_equal_trees(place / "scratch/run1", place / "project/run3")
        assert "{'added': 0, 'modified': 0, 'deleted': 0}" in done.stdout
        assert done.stdout.splitlines()[-2:] == ["0", "ended"] and "cannot use the source" in done.stdout
