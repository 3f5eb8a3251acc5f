"""The command line: hpcp's spellings, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.cli.command_line import CommandLine, parse
from hpcp_mpi.cli.help import EXAMPLES
from hpcp_mpi.cli.parser import build_parser, described
from hpcp_mpi.rules.excludes import from_lines
from hpcp_mpi.vocab.errors import EXIT_CODES, FatalError, UsageError
from hpcp_mpi.vocab.options import Options
from tests.support.launch import run


def parsed(*words: str) -> CommandLine:
    return parse(words, from_lines)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("-j 3", {"slots": 3}),
    ("-m 3", {"slots": 3}),
    ("-t 3", {"slots": 3}),
    ("-j -2", {"slots": -2}),
    ("-j=-2", {"slots": -2}),
    ("-j 0", {"slots": 0}),
    ("--max_workers -1", {"slots": -1}),
    ("--max-workers=7", {"slots": 7}),
    ("-s", {"single": True}),
    ("--single_thread", {"single": True}),
    ("-f 5", {"chunk_files": 5}),
    ("--files_per_job 5", {"chunk_files": 5}),
    ("-b", {}),
    ("--batch", {}),
    ("-do", {"directory_only": True}),
    ("-nds", {"directory_sync": False}),
    ("--no_directory_sync", {"directory_sync": False}),
    ("-fh", {"full_hash": True}),
    ("-hs 0", {"hash_size": 0}),
    ("-hs 1M", {"hash_size": 1 << 20}),
    ("--hash_size=1.5k", {"hash_size": 1536}),
    ("-e a -e b", {"excludes": (b"a", b"b")}),
    ("--exclude=*.log", {"excludes": (b"*.log",)}),
    ("-n", {"dry_run": True, "itemize": True}),
    ("-v", {"itemize": True}),
    ("--chunk-size 2G", {"chunk_size": 2 << 30}),
    ("--chunk_size 0", {"chunk_size": 1}),
    ("--modify-window 2", {"modify_window": 2.0}),
    ("-co", {"content_only": True}),
    ("-lt", {"links": "anywhere"}),
    ("--no_link_tracking", {"links": "never"}),
    ("-nb", {"sequential": True}),
    ("-L 10M -F 10Ki", {"rate_bytes": 10_000_000, "rate_files": 10_240}),
    ("--rate_limit 1Gi --file-rate-limit 5", {"rate_bytes": 1 << 30, "rate_files": 5}),
    ("-ctl 1.5", {"command_timeout": 1.5}),
    ("-tfs lustre -ncd -enes", {"file_system": "lustre", "make_destination": False, "require_space": True}),
    ("-rm --accept-loss -d dst", {"move": True, "accept_loss": True}),
    ("-rme --max-delete 3", {"mirror": True, "max_delete": 3}),
    ("-rme --backup_dir old --delete_excluded", {"mirror": True, "backup_dir": b"old", "delete_excluded": True}),
    ("--verify", {"verify": True}),
    ("--sparse always --reflink never", {"sparse": "always", "reflink": "never"}),
]


@pytest.mark.parametrize("words, expected", OPTIONS, ids=[words or "none" for words, _ in OPTIONS])
def test_each_option_says_what_it_says_in_hpcp(words: str, expected: dict[str, Any]) -> None:
    assert parsed("src", *words.split(), "dst").request.options == Options(**expected)


@pytest.mark.parametrize(
    "words, sources, destination",
    [
        ("a b", [b"a"], b"b"),
        ("a b c", [b"a", b"b"], b"c"),
        ("a -d c", [b"a"], b"c"),
        ("a b -d c", [b"a", b"b"], b"c"),
        ("-d c a", [b"a"], b"c"),
        ("a -d c b", [b"a", b"b"], b"c"),
        ("a -C c/", [b"a"], b"c/"),
        ("a --dest_path=c", [b"a"], b"c"),
        ("a -v b -j 2 c", [b"a", b"b"], b"c"),
        ("-n -- -a -b", [b"-a"], b"-b"),
    ],
)
def test_the_last_of_several_is_the_destination_unless_one_is_named(
    words: str, sources: list[bytes], destination: bytes
) -> None:
    command_line = parsed(*words.split())
    assert (command_line.request.sources, command_line.request.destinations) == (tuple(sources), (destination,))


def test_names_are_kept_byte_by_byte() -> None:
    assert parsed("src\udcff", "d \n").request.sources == (b"src\xff",)
    assert parsed("src", "-e", "\udcfe", "d").request.options.excludes == (b"\xfe",)


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "a source and a destination"),
        (["src"], "a destination must be given"),
        (["-d", "dst"], "no source"),
        (["src", "-d", ""], "is empty"),
        (["", "dst"], "is empty"),
        (["-do", "-nds", "a", "b"], "Give one of them"),
    ],
)
def test_what_has_no_meaning_is_a_usage_error(words: list[str], says: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(*words)
    assert says in str(error.value) and error.value.exit_code == 2


@pytest.mark.parametrize(
    "words, says",
    [
        ("-j many a b", "-j"),
        ("-hs 1X a b", "not a size"),
        ("-hs -1 a b", "argument -hs"),
        ("-f 0 a b", "must be 1 or more"),
        ("-f 1.5 a b", "not a number"),
        ("--modify-window -1 a b", "must be 0 or more"),
        ("--modify-window nan a b", "must be 0 or more"),
        ("--sparse sometimes a b", "invalid choice"),
        ("--max_work 3 a b", "unrecognized"),
        ("--no-such-option a b", "unrecognized"),
    ],
)
def test_a_wrong_command_line_exits_2_and_says_why(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*words.split())
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_exclude_files_add_to_the_patterns_without_comments_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"# build\n*.o\n\n cache\n")
    (tmp_path / "two").write_bytes(b"\xff")
    command_line = parsed("a", "b", "-x", str(tmp_path / "one"), "-e", "tmp", "-x", str(tmp_path / "two"))
    assert command_line.request.options.excludes == (b"tmp", b"*.o", b" cache", b"\xff")


def test_a_missing_exclude_file_is_fatal_and_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"exclude file .*gone: No such file or directory") as error:
        parsed("a", "b", "-x", str(tmp_path / "gone"))
    assert error.value.exit_code == 1


def test_version_needs_no_paths() -> None:
    assert parsed("-V").show == parsed("--version", "a").show == "version"


def test_where_the_report_and_the_progress_go() -> None:
    command_line = parsed("a", "b", "--json", "r.json", "--progress-interval", "0.5", "-v")
    assert (command_line.json, command_line.progress_interval) == (Path("r.json"), 0.5)
    assert command_line.request.options.itemize
    assert parsed("a", "b").json is None and not parsed("a", "b").request.options.itemize


def test_how_long_runs_are_written_down_and_gone_on_with() -> None:
    command_line = parsed(
        "a", "b", "--ledger", "l\udcff", "--resume", "--stop-before", "7.5", "--heartbeat_timeout", "30"
    )
    assert (command_line.ledger, command_line.resume) == (b"l\xff", True)
    assert (command_line.stop_before, command_line.request.options.heartbeat_timeout) == (7.5, 30.0)
    command_line = parsed("a", "b")
    assert (command_line.ledger, command_line.resume, command_line.status) == (None, False, None)
    assert (command_line.stop_before, command_line.request.options.heartbeat_timeout) == (None, 60.0)


def test_in_a_slurm_job_a_run_finds_the_ledger_to_go_on_with() -> None:
    job = {"SLURM_JOB_ID": "12", "SLURM_SUBMIT_DIR": "/home/me"}
    assert parse(["a", "b", "--resume"], from_lines, job).ledger == b"/home/me/hpcp-mpi-12.ledger"
    assert parse(["a", "b", "--resume", "--ledger", "mine"], from_lines, job).ledger == b"mine"
    assert parse(["a", "b"], from_lines, job).ledger is None
    with pytest.raises(UsageError, match="--resume") as error:
        parsed("a", "b", "--resume")
    assert "--ledger" in error.value.remedy


@pytest.mark.parametrize("words", ["--stop-before -1", "--heartbeat-timeout 0.5", "--heartbeat-timeout x"])
def test_times_that_make_no_sense_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("a", "b", *words.split())
    assert words.split()[0] in capsys.readouterr().err


def test_a_ledger_is_shown_without_sources() -> None:
    command_line = parsed("--status", "l\udcff", "--json", "j")
    assert (command_line.status, command_line.json) == (b"l\xff", Path("j"))


def test_help_groups_options_by_task_and_ends_with_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("-h")
    text = capsys.readouterr().out
    assert ended.value.code == 0
    headings = [
        "sources and destinations",
        "removal:",
        "what counts as identical",
        "performance:",
        "long runs",
        "output:",
        "examples:",
        "exit codes:",
    ]
    assert sorted(headings, key=text.index) == headings
    for code in EXIT_CODES:
        assert f"\n  {code} " in text
    assert len(text.splitlines()) < 250
    assert max(map(len, text.splitlines())) <= 80, "without a terminal lines are as wide as the smallest one"


def test_every_option_says_what_it_does_and_its_spellings_differ_in_dashes_only() -> None:
    spelled: set[str] = set()
    for section in described():
        for option in section.options:
            assert len(option.text) > 10 and not option.text.endswith(".") and option.text[0].islower()
            assert spelled.isdisjoint(option.names)
            spelled.update(option.names)
    actions = build_parser()._option_string_actions
    assert {name.replace("_", "-") for name in actions} == {name.replace("_", "-") for name in spelled} - {"SRC", "-0"}


@pytest.mark.parametrize("spelling", ["--max-delete", "--max_delete", "--dest_path", "--dest-path"])
def test_long_options_may_be_spelled_with_either_dash(spelling: str) -> None:
    assert parsed("-rme", "a", "-d", "b", spelling, "7").request.sources == (b"a",)


def test_minus_0_is_an_option_and_negative_numbers_are_numbers() -> None:
    command_line = parsed("-fl", "l", "-0", "-j", "-2", "a")
    assert command_line.request.nul and command_line.request.options.slots == -2


def test_without_arguments_a_short_help_is_shown_and_nothing_was_done() -> None:
    done = run([], flavour="plain")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) <= 80
    assert sum("hpcp-mpi" in line and "  #" in line for line in lines) == 5 and "hpcp-mpi -h" in lines[-1]


def test_every_example_is_understood() -> None:
    for _, command in EXAMPLES:
        words = shlex.split(command.replace("mpiexec -n 4 ", "").replace("PATH...", "PATH"))
        assert words[0] == "hpcp-mpi"
        parsed(*words[1:])


def test_a_wrong_option_is_shown_without_its_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be the name of another user's file, where a shell's pattern is on the command line."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--\x1b]0;owned\x07", "a", "b"])
    error = capsys.readouterr().err
    assert "\x1b" not in error and "\\x1b]0;owned\\x07" in error
