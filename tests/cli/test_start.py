"""What a run that is soon over loads: each module takes a part of a millisecond, some of the library take several."""

from __future__ import annotations

from pathlib import Path

from tests.support.launch import run
from tests.support.trees import File, build

# The command; when it ends it says what was loaded.
COMMAND = """
import atexit, sys
from hpcp_mpi.cli.main import console
atexit.register(lambda: print(*sorted(sys.modules), sep="\\n"))
console()
"""
MOST_LOADED = 190  # modules of ours, and packages
HEAVY = {"pathlib", "urllib.parse", "hashlib", "socket", "datetime", "decimal", "sqlite3"}


def test_the_copy_of_one_small_file_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    build(tmp_path, {"file": File(b"content")})
    done = run(["-q", tmp_path / "file", tmp_path / "copy"], flavour="nompi", python_args=("-c", COMMAND)).check()
    loaded = set(done.stdout.split())
    assert not loaded & HEAVY
    ours = {each for each in loaded if each.split(".")[0] == "hpcp_mpi"}
    assert len(ours) <= MOST_LOADED, sorted(ours)
