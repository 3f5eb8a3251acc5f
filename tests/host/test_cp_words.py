"""The names that GNU tools quote are read back exactly, with any bytes in them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpcp_mpi.host.commands import ENVIRONMENT
from hpcp_mpi.host.cp import attributes_refused, command, complaints, permissions_refused, unquoted
from hpcp_mpi.vocab.options import Options
from tests.support.effort import many

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name and b"/" not in name)
SMALL = st.lists(st.sampled_from(list(b"a'\"\\$`!\n\t\x07\x1b07~ #-\xff\xc3\xa4")), min_size=1, max_size=8).map(bytes)


# gnulib writes such a name (unprintable byte first, then a quote, then another one) like a different one that has
# backslashes in it: it prints "\n'\n" as 'backslash n', a quote and a newline. No reader can undo that.
AMBIGUOUS = re.compile(rb"[^ -~].*'.*[^ -~]", re.DOTALL)


def usable(name: bytes) -> bool:
    return name not in (b".", b"..") and AMBIGUOUS.match(name) is None


@settings(max_examples=many(60), deadline=None)
@given(st.lists((NAMES | SMALL).filter(usable), min_size=1, max_size=20, unique=True))
@example([b"it's", b"'", b"''", b"it's\n", b'a"b', b"\\n", b"\n7", b"\x017", b"$'x'", b"\\'", b"\xff'"])
def test_names_as_ls_quotes_them_are_read_back(names: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        fd = os.open(directory, os.O_RDONLY)
        try:
            for name in names:
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        finally:
            os.close(fd)
        listing = ["ls", "-A", "-U", "--quoting-style=shell-escape-always"]
        done = subprocess.run(listing, cwd=directory, env=ENVIRONMENT, capture_output=True, check=True)
    assert sorted(map(unquoted, done.stdout.splitlines())) == sorted(names)


NASTY = [
    b"plain", b"with space", b"it's", b'say "no"', b"it's\n'new'", b"\n", b"tab\tbell\a", b"-rf", b"\xff\xfe",
    "\u00e4\u65e5".encode(), b"\\", b"\\n", b"$(reboot)", b"`x`", b"a: b", b": cannot stat", b"'", b"''",
    b"\x1b[31m", b"\x017", b"x" * 255, b"' and '",
]  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_a_complaint_of_cp_is_attributed_to_the_name_it_is_about(name: bytes, tmp_path: Path) -> None:
    """The name is missing, so cp cannot stat it; another one is copied."""
    (tmp_path / "stage").mkdir()
    (tmp_path / "fine").write_bytes(b"")
    stage = os.open(tmp_path / "stage", os.O_RDONLY)
    try:
        words = command(Options(), stage, [b"fine", name])
        done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, pass_fds=[stage])
    finally:
        os.close(stage)
    assert done.returncode == 1
    by_path, others = complaints(done.stderr)
    assert by_path == {name: "cp cannot stat: No such file or directory"}
    assert others == []
    assert (tmp_path / "stage/fine").exists()


def test_a_complaint_deep_in_a_subtree_is_about_the_path_in_it(tmp_path: Path) -> None:
    """cp -t into a stage in which a directory is in a file's way, so that it has to name a path of its own."""
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/it's\n").write_bytes(b"")
    (tmp_path / "stage/tree/sub/it's\n").mkdir(parents=True)
    stage = os.open(tmp_path / "stage", os.O_RDONLY)
    try:
        words = command(Options(), stage, [b"tree"])
        done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, pass_fds=[stage])
    finally:
        os.close(stage)
    by_path, others = complaints(done.stderr)
    assert list(by_path) == [b"tree/sub/it's\n"] and others == []
    assert by_path[b"tree/sub/it's\n"].startswith("cp cannot overwrite directory")


@pytest.mark.parametrize(
    "stderr, by_path, others",
    [
        (b"", {}, []),
        (b"cp: error writing '/proc/self/fd/12/a b': No space left on device\n",
         {b"a b": "cp error writing: No space left on device"}, []),
        (b"cp: cannot open 'x' for reading: Permission denied\ncp: cannot stat 'x': later\n",
         {b"x": "cp cannot open for reading: Permission denied"}, []),
        (b"cp: memory exhausted\n\n", {}, ["memory exhausted"]),
        (b"cp: error reading '/proc/self/fd/7': Input/output error\n",
         {b"": "cp error reading: Input/output error"}, []),
        (b"cp: 'a'$'\\n''b': odd \xff\n", {b"a\nb": "cp : odd \ufffd"}, []),
    ],
)  # fmt: skip
def test_what_cp_says_is_sorted_by_path(stderr: bytes, by_path: dict[bytes, str], others: list[str]) -> None:
    assert complaints(stderr) == (by_path, others)


def test_names_come_after_the_end_of_options_and_the_stage_by_descriptor() -> None:
    words = command(Options(sparse="never", reflink="always"), 9, [b"-rf", b"--help"])
    assert words[:3] == [b"cp", b"-dRf", b"--preserve=all"]
    assert b"--sparse=never" in words and b"--reflink=always" in words
    assert words[words.index(b"--") + 1 :] == [b"-rf", b"--help"]
    assert words[words.index(b"-t") + 1] == b"/proc/self/fd/9"
    assert command(Options(), 9, [], follow=True)[1] == b"-dRfH"


def test_attributes_that_cp_could_not_set_are_known_and_no_paths() -> None:
    stderr = (
        b"cp: setting attribute 'user.a b' for 'user.a b': No space left on device\n"
        b"cp: cannot open 'x' for reading: Permission denied\n"
        b"cp: getting attribute 'user.c' of 'user.c': Input/output error\n"
    )
    assert attributes_refused(stderr) == {b"user.a b": "No space left on device", b"user.c": "Input/output error"}
    assert complaints(stderr) == ({b"x": "cp cannot open for reading: Permission denied"}, [])
    (words,) = complaints(b"cp: preserving permissions for '/proc/self/fd/9/x': Operation not supported\n")[0].values()
    assert permissions_refused(words) == "Operation not supported"
    assert permissions_refused("cp cannot open for reading: Permission denied") is None
