"""Ranks on two clients of one file system, each of which remembers names and attributes for two seconds.

What one rank wrote the others may not see at once. The copy is right all the same, as seen where it is stored.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.dfs import volume
from tests.support import launch, oracle
from tests.support.copies import Copied, changed, copy, state
from tests.support.faultfs import served
from tests.support.launch import World
from tests.support.marks import each_world, needs_commands, needs_fuse
from tests.support.trees import Dir, Entries, File, HardLink, Symlink, build

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    needs_fuse,
    needs_commands("rsync"),
]

DIRECTORIES = 40
OLD, NEW = 1_600_000_000_123_456_789, 1_610_000_000_987_654_321  # ns


@dataclass(frozen=True)
class TwoClients:
    """One file system, seen by ranks through two clients in turns."""

    src: Path
    stored: Path  # what is there, as no cache shows it
    shared: Path  # where ranks see it
    wrapper: list[str]

    def copy(self, world: World, *args: str, code: int = 0) -> Copied:
        return copy(*args, f"{self.src}/", "-d", self.shared / "dst", world=world, code=code, wrapper=self.wrapper)

    def assert_equal(self) -> None:
        oracle.assert_equal_trees(self.src, self.stored / "dst")


@pytest.fixture
def clients(on_disk: Path) -> Iterator[TwoClients]:
    for name in ("src", "stored", "client1", "client2", "mnt"):
        (on_disk / name).mkdir()
    with ExitStack() as stack:
        for name in ("client1", "client2"):
            options = ["allow_other", "default_permissions", "entry_timeout=2"]
            stack.enter_context(served(on_disk / "stored", on_disk / name, options))
        wrapper = ["sh", str(Path(volume.__file__).with_name("as_client.sh")), str(on_disk)]
        yield TwoClients(on_disk / "src", on_disk / "stored", on_disk / "mnt", wrapper)


def tree(changed_at: int = OLD, text: bytes = b"old") -> Entries:
    """Many directories, in each of which one file may be changed, and names of files across them."""
    entries: dict[str, Any] = {}
    for number in range(DIRECTORIES):
        entries[f"d{number}"] = Dir(
            {
                "changed": File(text + b"%d" % number, mtime_ns=changed_at),
                "same": File(b"same", mtime_ns=OLD),
                **({"name": HardLink("d0/changed")} if number % 4 == 1 else {}),
            },
            mtime_ns=OLD,
        )
    return entries


def begin(clients: TwoClients) -> None:
    """Have an older copy at the destination, and the source newer."""
    build(clients.src, tree())
    subprocess.run(["cp", "-a", clients.src, clients.stored / "dst"], check=True)
    shutil.rmtree(clients.src)
    build(clients.src, tree(NEW, b"newer"))


WORLDS = each_world((4,), ["mpich"])
EACH_MPI = each_world((4,), launch.WITH_MPIEXEC)


@EACH_MPI
def test_directories_that_any_client_wrote_to_keep_their_times(world: World, clients: TwoClients) -> None:
    begin(clients)
    clients.copy(world)
    clients.assert_equal()


@WORLDS
def test_names_stay_names_of_one_file_when_another_client_replaced_it(world: World, clients: TwoClients) -> None:
    begin(clients)
    done = clients.copy(world, "-f", "1")
    clients.assert_equal()
    assert not [note for note in done.notes.values() if "copied, not linked" in note]


@WORLDS
def test_verifying_takes_no_good_copy_for_a_bad_one(world: World, clients: TwoClients) -> None:
    begin(clients)
    done = clients.copy(world, "--verify", "-f", "1")
    clients.assert_equal()
    assert not [note for note in done.notes.values() if "again" in note], done.notes


@WORLDS
def test_moving_leaves_nothing_that_another_client_copied(world: World, clients: TwoClients) -> None:
    begin(clients)
    kept = clients.src.with_name("kept")
    subprocess.run(["cp", "-a", clients.src, kept], check=True)
    clients.copy(world, "-rm", "-rf", "-f", "1")
    assert not clients.src.exists() or not os.listdir(clients.src)
    oracle.assert_equal_trees(kept, clients.stored / "dst")


@WORLDS
def test_mirroring_puts_files_where_directories_were_and_the_other_way_round(world: World, clients: TwoClients) -> None:
    files = {f"e{n}": File(b"now a file", mtime_ns=NEW) for n in range(8)}
    build(clients.src, {**files, **{f"f{n}": Dir({"in": Symlink("x")}, mtime_ns=NEW) for n in range(8)}})
    before = {f"e{n}": Dir({"in": File(b"1"), "more": Dir({"in": File(b"2")})}) for n in range(8)}
    build(clients.stored / "dst", {**before, **{f"f{n}": File(b"was a file") for n in range(8)}})
    clients.copy(world, "-rme", "-rf")
    clients.assert_equal()


@WORLDS
def test_when_memories_are_over_a_second_run_writes_nothing(world: World, clients: TwoClients) -> None:
    begin(clients)
    clients.copy(world)
    before = state(clients.stored / "dst")
    time.sleep(2)  # nothing tells when a kernel has forgotten
    done = clients.copy(world)
    # The root's inode is changed when it is tried what can be stored there; its times are put back.
    assert done.copied_entries == 0 and changed(before, state(clients.stored / "dst")) <= {b"."}
    clients.assert_equal()
