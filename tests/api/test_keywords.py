"""The keywords of the API: which there are, what they may be, and what they mean, which is what the command means."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hpcp_mpi
from hpcp_mpi.api.asked import asked
from hpcp_mpi.cli.command_line import parse
from hpcp_mpi.operations.prepare.tools import exclude_lines
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Request
from tests.support.launch import REPOSITORY

FUNCTIONS = ("copy", "mirror", "move", "compare", "verify", "list_files", "remove")
PLACES: dict[str, dict[str, Any]] = {
    "copy": {"sources": ["a", b"b"], "destination": "d"},
    "mirror": {"sources": "a", "destination": b"d"},
    "move": {"sources": Path("a"), "destination": Path("d")},
    "compare": {"sources": "a", "destination": "d"},
    "verify": {"sources": "a", "destination": "d"},
    "list_files": {"sources": "a", "file": "list"},
    "remove": {"paths": ["a", "-b"]},
}
# A value of each keyword that is not the default. Those of one line need each other.
VALUES: dict[str, Any] = {
    "exclude": ["*.tmp", b"\xff", Path("x")],
    "exclude_optional": "-eo",
    "directory_only": True,
    "no_directory_sync": True,
    "content_only": True,
    "strict_metadata": True,
    "link_tracking": True,
    "no_link_tracking": True,
    "dry_run": True,
    "itemize": True,
    "verify": True,
    "hash_size": "1.5M",
    "full_hash": True,
    "modify_window": 1.5,
    "backup_dir": "-old",
    "no_create_dir": True,
    "target_file_system": "ext4",
    "exit_not_enough_space": True,
    "sequential": True,
    "rate_limit": "10M",
    "file_rate_limit": 500,
    "max_workers": -2,
    "single_thread": True,
    "parallel_file_listing": True,
    "command_timeout_limit": 30,
    "files_per_job": 10,
    "chunk_size": "1G",
    "chunk_seconds": 0.5,
    "split_size": 0,
    "io_size": "4M",
    "drop_cache": True,
    "sparse": "never",
    "reflink": "always",
    "heartbeat_timeout": 5,
    "unmatched_excludes": True,
    "delete_excluded": True,
    "max_delete": 0,
    "accept_loss": True,
    "hashes": False,
    "diff_file_list": "diff",
    "stop_before": 3,
    "ledger": "ledger",
}
TOGETHER: dict[str, dict[str, Any]] = {
    "exclude_file": {"exclude_file": "patterns"},
    "exclude_file_optional": {"exclude_file_optional": ["patterns"]},
    "source_file_list": {"source_file_list": "names", "sources": ()},
    "null": {"null": True, "source_file_list": "names", "sources": "a"},
    "random_dest_selection": {"random_dest_selection": True, "destination": ["d", "e"]},
    "target_file_list": {"target_file_list": "list", "destination": None},
    "no_hash_file_list": {"target_file_list": "list", "destination": None, "no_hash_file_list": True},
    "tar_diff_file_list": {"diff_file_list": "diff", "tar_diff_file_list": True},
    "resume": {"ledger": "ledger", "resume": True},
}
NOT_OF_A_REQUEST = {"progress", "should_stop", "join_timeout"}


def keywords_of(function: str) -> dict[str, Any]:
    """The keywords of a function and their defaults."""
    parameters = inspect.signature(getattr(hpcp_mpi, function)).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def given(function: str, **more: Any) -> dict[str, Any]:
    return {**keywords_of(function), **PLACES[function], **more}


def comparable(request: Request) -> Request:
    """Without what only a command line has: -d takes patterns, a dry run is shown."""
    options = replace(request.options, itemize=request.options.itemize or request.options.dry_run)
    return replace(request, patterns=False, force=False, options=options)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_defaults_are_those_of_the_command_line(function: str) -> None:
    options = asked(function, given(function)).request.options
    usual = {"mirror": {"mirror": True}, "move": {"move": True}, "verify": {"full_hash": True}}.get(function, {})
    compares = {"dry_run": True, "itemize": True} if function in ("compare", "verify") else {}
    assert options == Options(**usual, **compares)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_keyword_means_what_the_command_of_a_ledger_means(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patterns").write_text("*.o\n")
    for name in keywords_of(function).keys() - NOT_OF_A_REQUEST:
        values = {name: VALUES[name]} if name in VALUES else dict(TOGETHER[name])
        if function == "list_files" and name == "null":
            values = {name: True}
        if function == "compare" and name == "null":
            values = {name: True, "target_file_list": "list", "destination": None}
        call = asked(function, given(function, **values))
        command_line = parse(call.command[1:], exclude_lines, {})
        assert comparable(command_line.request) == comparable(call.request), call.command
        assert (command_line.ledger, command_line.resume, command_line.stop_before) == (
            call.ledger,
            call.resume,
            call.stop_before,
        )
        changed = call.request != asked(function, given(function)).request
        assert changed or name in ("ledger", "resume", "stop_before"), name


@pytest.mark.parametrize(
    "function, word, says",
    [
        ("copy", "exlude", "copy() got an unexpected keyword 'exlude': did you mean 'exclude'?"),
        ("copy", "dry-run", "did you mean 'dry_run'?"),
        ("copy", "excludes", "did you mean 'exclude'?"),
        ("move", "Verify", "did you mean 'verify'?"),
        ("copy", "workers", "did you mean 'max_workers'?"),
        ("copy", "mirror", "call hpcp_mpi.mirror()"),
        ("mirror", "delete", "did you mean 'max_delete'?"),
        ("remove", "force", "to call what removes is to agree"),
        ("status", "xyzzy", "help(hpcp_mpi.status) lists those it has"),
    ],
)
def test_a_keyword_that_does_not_exist_is_refused_with_the_one_that_was_meant(
    function: str, word: str, says: str
) -> None:
    with pytest.raises(TypeError) as error:
        getattr(hpcp_mpi, function)("a", "b", **{word: True})
    assert says in str(error.value)


@pytest.mark.parametrize(
    "keywords, says",
    [
        ({"sources": 1}, "copy(): sources must be a path (str, bytes or os.PathLike) or several, not 1"),
        ({"sources": ["a", None]}, "sources must be a path (str, bytes or os.PathLike) or several of them, not None"),
        ({"sources": bytearray(b"a")}, "sources must be a path"),
        ({"destination": None}, "destination must be a path"),
        ({"exclude": 7}, "exclude must be a path"),
        ({"dry_run": "no"}, "copy(): dry_run must be True or False, not 'no'"),
        ({"verify": 1}, "verify must be True or False"),
        ({"hash_size": 1.5}, "hash_size must be a number of bytes, or a size such as '64K' or '1.5G', not 1.5"),
        ({"hash_size": True}, "hash_size must be a number of bytes"),
        ({"rate_limit": None}, "rate_limit must be a number a second"),
        ({"max_workers": "4"}, "max_workers must be a whole number or None, not '4'"),
        ({"modify_window": "1"}, "modify_window must be a number, not '1'"),
        ({"ledger": 3}, "ledger must be a path"),
        ({"progress": "yes"}, "progress must be something that can be called, or None, not 'yes'"),
        ({"join_timeout": "60"}, "copy(): join_timeout must be a number"),
        ({"target_file_system": b"ext4"}, "target_file_system must be a str"),
    ],
)
def test_a_wrong_type_is_a_sentence(keywords: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError) as error:
        hpcp_mpi.copy(**{"sources": "/nowhere", "destination": "/nowhere/else", **keywords})
    assert says in str(error.value)


@pytest.mark.parametrize(
    "function, keywords, says",
    [
        ("copy", {"sources": []}, "no source was given"),
        ("copy", {"sources": ""}, "an argument is empty"),
        ("copy", {"sources": "a\0b"}, "it holds a NUL"),
        ("copy", {"sources": "a\ud800"}, "it cannot be encoded"),
        ("copy", {"destination": []}, "a destination must be given"),
        ("copy", {"hash_size": "64Q"}, "copy(): hash_size: not a size: '64Q'; write it as 65536, 64K, 512M or 2G"),
        ("copy", {"hash_size": -1}, "hash_size must be 0 or more, not -1"),
        ("copy", {"rate_limit": "fast"}, "not a rate: 'fast'"),
        ("copy", {"sparse": "sometimes"}, "sparse must be one of auto, always, never, not 'sometimes'"),
        ("copy", {"files_per_job": 0}, "files_per_job must be 1 or more"),
        ("copy", {"modify_window": float("nan")}, "modify_window must be a finite number"),
        ("copy", {"join_timeout": -1}, "join_timeout must be 0 or more"),
        ("copy", {"exclude": ".."}, "the exclude pattern '..' of exclude can match nothing"),
        ("copy", {"exclude_file": "/nowhere/x"}, "cannot read the exclude file /nowhere/x: No such file"),
        ("copy", {"source_file_list": "-"}, "'-' is a standard stream only on the command line"),
        ("list_files", {"file": "-"}, "'-' is a standard stream only on the command line"),
        ("copy", {"resume": True}, "resume needs the ledger"),
        ("copy", {"link_tracking": True, "no_link_tracking": True}, "contradict each other"),
        ("copy", {"directory_only": True, "no_directory_sync": True}, "directory_only copies directories with their"),
        ("copy", {"content_only": True, "strict_metadata": True}, "content_only copies no metadata"),
        ("mirror", {"content_only": True, "hash_size": 0}, "content_only with hash_size 0 would compare sizes only"),
        ("copy", {"random_dest_selection": True}, "spreads files over several destinations"),
        ("copy", {"null": True}, "null says what lists look like, and there is none"),
        ("copy", {"source_file_list": "l", "destination": ["d", "e"]}, "source_file_list with several destinations"),
        ("copy", {"source_file_list": "l", "sources": ["a", "b"]}, "relative to one directory"),
        ("compare", {"destination": None}, "a destination must be given"),
        ("compare", {"target_file_list": "list"}, "not with both"),
        ("compare", {"tar_diff_file_list": True}, "Add diff_file_list"),
        ("remove", {"paths": ()}, "no path was given"),
        ("copy", {"sources": "host:/data"}, "looks like a place on another host"),
        ("copy", {"ledger": "/dev/shm/hpcp-mpi-no/such/ledger"}, "there is no directory /dev/shm/hpcp-mpi-no/such"),
    ],
)
def test_what_means_nothing_is_refused_in_the_words_of_the_command_line(
    function: str, keywords: dict[str, Any], says: str
) -> None:
    with pytest.raises(hpcp_mpi.FatalError) as error:
        getattr(hpcp_mpi, function)(**{**PLACES[function], **keywords})
    assert says in str(error.value)


def test_there_is_no_option_that_removes_where_the_name_does_not_say_so() -> None:
    removing = {"max_delete", "delete_excluded", "accept_loss", "unmatched_excludes", "mirror", "move", "remove"}
    assert not removing & {*keywords_of("copy"), *keywords_of("compare"), *keywords_of("verify")}


PROGRAM = """
import os
from collections.abc import Iterator
from pathlib import Path

import hpcp_mpi
from hpcp_mpi import Failure, FatalError, LedgerStatus, Options, Progress, Report, UsageError

def show(now: Progress) -> None:
    print(now.phase, now.fraction, now.remaining)

def each() -> Iterator[os.PathLike[str]]:
    yield Path("a")

report: Report = hpcp_mpi.copy("a", b"b", exclude=["*.o", b"x"], hash_size="64K", progress=show, ledger=Path("l"))
failed: list[Failure] = report.failures
options: Options = report.options
state: LedgerStatus = hpcp_mpi.status("l")
hpcp_mpi.mirror(each(), Path("b"), max_delete=3, rate_limit=5, should_stop=lambda: False)
hpcp_mpi.move(["a"], "b", accept_loss=True)
hpcp_mpi.compare("a", target_file_list="list")
hpcp_mpi.verify("a", "b")
hpcp_mpi.list_files("a", "list", hashes=False)
hpcp_mpi.remove("a", dry_run=True)
kind: type[FatalError] = UsageError
"""
WRONG = """
import hpcp_mpi
hpcp_mpi.copy("a", "b", exlude="*.o")
hpcp_mpi.copy("a", "b", mirror=True)
hpcp_mpi.copy("a", "b", dry_run="no")
hpcp_mpi.copy("a", 1)
hpcp_mpi.copy("a", "b", sparse="sometimes")
hpcp_mpi.remove("a", "b")
hpcp_mpi.copy("a", "b").failuers
hpcp_mpi.cpoy("a", "b")
"""


def test_mypy_strict_takes_a_right_program_and_refuses_each_wrong_line(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)
    done = subprocess.run(
        # With the project's settings, which are strict: what `make check` has found out of the package is known then.
        [sys.executable, "-m", "mypy", "--no-error-summary", str(tmp_path / "right.py"), str(tmp_path / "wrong.py")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    assert not [line for line in errors if "/wrong.py:" not in line], done.stdout + done.stderr
    assert [int(line.partition("wrong.py:")[2].split(":")[0]) for line in errors] == list(range(3, 11)), (
        done.stdout + done.stderr
    )
    assert 'Unexpected keyword argument "exlude" for "copy"; did you mean "exclude"?' in errors[0]
