"""Where lists and reports go: pipes, open files and one's own links work, and nobody else says where it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hpcp_mpi.host import output_file as output_files
from hpcp_mpi.host.list_file import place_of, write
from hpcp_mpi.host.output_file import output_at, output_file
from hpcp_mpi.vocab.errors import FatalError
from tests.support.launch import REPOSITORY, start
from tests.support.marks import needs_root

NOBODY = 65534


@pytest.fixture
def place(on_tmpfs: Path) -> Path:
    (on_tmpfs / "src").mkdir()
    for name in ("a", "b"):
        (on_tmpfs / "src" / name).write_text(name)
    return on_tmpfs


def shell(script: str, place: Path) -> str:
    """Run a script of bash with HPCP for the tool; return what its standard output got."""
    script = script.replace("HPCP", f"'{sys.executable}' -m hpcp_mpi")
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_what_a_shell_gives_for_a_file_can_be_written_to(place: Path) -> None:
    """One call of the tool for each: it takes most of the time."""
    shell(
        "HPCP -fl /dev/stdout -nhfl src > out; HPCP -fl >(cat > substituted; touch done) -nhfl src\n"
        "exec 3>third; echo before >&3; HPCP --json /dev/fd/3 -fl named -nhfl src; echo after >&3\n"
        "mkfifo fifo; cat fifo > through & HPCP -fl fifo -nhfl src; wait",
        place,
    )
    while not (place / "done").exists():
        time.sleep(0.01)
    listed = (place / "named").read_text()
    assert len(listed.splitlines()) == 3
    for name in ("substituted", "through"):
        assert (place / name).read_text() == listed, name
    assert set(listed.splitlines()) <= set((place / "out").read_text().splitlines()), "beside the table"
    text = (place / "third").read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    report = json.loads(text.removeprefix("before\n").removesuffix("after\n"))
    assert report["verb"] == "list"


def test_standard_output_is_not_where_a_report_goes(place: Path) -> None:
    with pytest.raises(AssertionError, match="not a regular file"):
        shell("HPCP --json /dev/stdout -fl x src > out", place)


@pytest.mark.parametrize("blocked", ["nobody reads", "the reader waits", "nobody writes"])
def test_a_signal_ends_the_wait_for_the_other_end_of_a_pipe(blocked: str, place: Path) -> None:
    os.mkfifo(place / "fifo")
    args = ["-fl", place / "fifo", place / "src"]
    reader = -1
    if blocked == "the reader waits":
        reader = os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        filler = os.open(place / "fifo", os.O_WRONLY | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(filler, bytes(4096))
        os.close(filler)
    elif blocked == "nobody writes":
        args = ["-sfl", place / "fifo", place / "src", "-d", place / "dst"]
    with start(args, flavour="plain") as running:
        time.sleep(1.0)
        assert not running.ended
        running.signal(signal.SIGTERM)
        done = running.finish(10)
    if reader >= 0:
        os.close(reader)
    assert done.returncode == 75 and "Traceback" not in done.stderr, done


def test_ones_own_links_and_the_directory_of_ones_group_do(place: Path) -> None:
    (place / "group").mkdir()
    (place / "group").chmod(0o2775)
    (place / "group/real").write_text("old")
    (place / "link").symlink_to("group/real")
    (place / "to-directory").symlink_to("group")
    for path in ("link", "to-directory/new", "group/other"):
        output = place_of(os.fsencode(place / path))
        write(output, [b"new\n"])
        assert (place / path).read_text() == "new\n"
    assert (place / "link").is_symlink() and (place / "group/real").read_text() == "new\n"
    assert sorted(os.listdir(place / "group")) == ["new", "other", "real"]


# --- another user


def links_of_another(place: Path, target: Path) -> Path:
    u = place / "u"
    u.mkdir()
    (u / "link").symlink_to(target)
    for path in (u, u / "link"):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return u / "link"


@needs_root
@pytest.mark.parametrize("target", ["device", "fifo", "file", "directory"])
def test_nothing_is_written_to_what_the_link_of_another_user_points_to(target: str, place: Path) -> None:
    victim = place / "victim"
    if target == "device":
        os.mknod(victim, 0o600 | 0o020000, os.makedev(1, 7))  # as /dev/full
    elif target == "fifo":
        os.mkfifo(victim)
    elif target == "file":
        victim.write_text("precious")
    else:
        victim.mkdir()
    link = links_of_another(place, victim)
    if target == "directory":
        link = link / "name"
    naive = os.open(link, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK) if target != "fifo" else -1
    assert target == "fifo" or os.path.realpath(f"/proc/self/fd/{naive}").startswith(str(victim)), "the attack bites"
    if target == "directory":
        (victim / "name").unlink()
    with pytest.raises(FatalError, match=r"behind a symlink of another user \(uid 65534\)"):
        place_of(os.fsencode(link))
    with pytest.raises(FatalError, match="behind a symlink of another user"), output_file(os.fsencode(link)):
        pass
    assert target != "file" or victim.read_text() == "precious"
    assert target != "directory" or os.listdir(victim) == []


@needs_root
def test_nor_to_a_pipe_of_another_user(place: Path) -> None:
    os.mkfifo(place / "fifo")
    os.chown(place / "fifo", NOBODY, NOBODY)
    with pytest.raises(FatalError, match="a device or a pipe of another user"):
        place_of(os.fsencode(place / "fifo"))


@needs_root
def test_a_link_that_waits_where_the_new_file_is_made_is_not_followed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its name were known. In the directory of the other user, who knows it: it is that of a process."""
    u = links_of_another(place, place / "victim").parent
    (place / "victim").write_text("precious")
    monkeypatch.setattr(output_files.os, "urandom", lambda count: bytes(count))
    (u / f".hpcp-mpi.{'0' * 16}.new").symlink_to(place / "victim")
    with pytest.raises(FileExistsError), output_file(os.fsencode(u / "report")) as file:
        file.write(b"new")
    assert (place / "victim").read_text() == "precious"


@needs_root
def test_what_is_exchanged_during_the_work_changes_nothing(place: Path) -> None:
    """The place was looked at before; now its directory is a link to root's, and the file that is made is another."""
    u = links_of_another(place, place / "victim").parent
    (place / "rooms").mkdir()
    output = output_at(os.fsencode(u / "report"), "the report")
    os.rename(u, place / "aside")
    u.symlink_to(place / "rooms")
    with output.opened() as file:
        file.write(b"new")
    output.close()
    assert os.listdir(place / "rooms") == [] and (place / "aside/report").read_text() == "new"
    file = output_file(os.fsencode(place / "aside/other"))
    file.__enter__()
    (made,) = [name for name in os.listdir(place / "aside") if name.endswith(".new")]
    os.rename(place / "aside" / made, place / "aside/stolen")
    (place / "aside" / made).write_text("forged")
    with pytest.raises(OSError, match="exchanged it"):
        file.__exit__(None, None, None)
    assert not (place / "aside/other").exists()


@needs_root
def test_the_mode_of_a_file_of_another_user_is_not_taken_over(place: Path) -> None:
    u = links_of_another(place, place / "victim").parent
    for name, owner in (("theirs", NOBODY), ("ours", 0)):
        (u / name).write_text("old")
        os.chown(u / name, owner, owner)
        (u / name).chmod(0o4757)
        with output_file(os.fsencode(u / name)) as file:
            file.write(b"#!/bin/sh\n")
    assert (u / "theirs").stat().st_mode & 0o7777 == 0o644
    assert (u / "ours").stat().st_mode & 0o7777 == 0o757
