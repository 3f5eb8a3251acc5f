"""Which ledger a run writes, whose work it may go on with, and what is said where there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpcp_mpi.engine.checkpoints import CheckpointWriter
from hpcp_mpi.operations import open_ledger as opening_ledger
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.request import Request, Verb
from tests.ledger.making import checkpoint, rows

COPY = Request(Verb.COPY, (b"/data/a", b"/data/b"), (b"/backup",))


def fingerprint(request: Request) -> str:
    return opening_ledger._heading(request, ("hpcp-mpi",), {}, "1").fingerprint


class Desk:
    """Opens ledgers, and remembers what was said."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.said: list[str] = []
        self.environment = {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(place)}

    def open(
        self, request: Request = COPY, ledger: str | None = None, resume: bool = False, restarts: int = 0
    ) -> CheckpointWriter | None:
        environment = self.environment | ({"SLURM_RESTART_COUNT": str(restarts)} if restarts else {})
        path = None if ledger is None else os.fsencode(self.place / ledger)
        return opening_ledger.open_checkpoints(request, path, resume, ("hpcp-mpi",), environment, self.said.append, "1")

    def use(self, *args: Any, **kwargs: Any) -> tuple[str, bool]:
        """Open one, write a checkpoint, be killed; return its name and whether there was something to go on with."""
        checkpoints = self.open(*args, **kwargs)
        assert checkpoints is not None
        saved = checkpoints.resume_state()
        checkpoints._ledger.checkpoint(checkpoint(1))
        checkpoints.close()
        return os.fsdecode(os.path.basename(checkpoints.path)), saved is not None

    @property
    def names(self) -> list[str]:
        return sorted(os.listdir(self.place))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


SAME: dict[str, Callable[[Request], Request]] = {
    "more slots": lambda request: replace(request, options=replace(request.options, slots=7)),
    "one rank lists": lambda request: replace(request, options=replace(request.options, parallel_listing=True)),
    "other chunks": lambda request: replace(
        request, options=replace(request.options, chunk_files=1, chunk_size=2, chunk_seconds=3.0)
    ),
    "other ranges": lambda request: replace(request, options=replace(request.options, split_size=1, io_size=1 << 22)),
    "slower": lambda request: replace(request, options=replace(request.options, rate_bytes=1, rate_files=2)),
    "listed as it goes": lambda request: replace(request, options=replace(request.options, itemize=True)),
    "no questions": lambda request: replace(request, force=True),
    "a relative name of the same": lambda request: replace(
        request, sources=(os.fsencode(os.path.relpath("/data/a")), b"/data/x/../b")
    ),
}
OTHER: dict[str, Callable[[Request], Request]] = {
    "another source": lambda request: replace(request, sources=(b"/data/a", b"/data/c")),
    "one source less": lambda request: replace(request, sources=(b"/data/a",)),
    "another order": lambda request: replace(request, sources=(b"/data/b", b"/data/a")),
    "its contents": lambda request: replace(request, sources=(b"/data/a/", b"/data/b")),
    "another destination": lambda request: replace(request, destinations=(b"/backup2",)),
    "below the destination": lambda request: replace(request, destinations=(b"/backup/",)),
    "another verb": lambda request: replace(request, verb=Verb.COMPARE),
    "a mirror": lambda request: replace(request, options=replace(request.options, mirror=True)),
    "other excludes": lambda request: replace(request, options=replace(request.options, excludes=(b"*.o",))),
    "verified": lambda request: replace(request, options=replace(request.options, verify=True)),
    "no tails": lambda request: replace(request, options=replace(request.options, hash_size=0)),
    "only content": lambda request: replace(request, options=replace(request.options, content_only=True)),
    "a dry run": lambda request: replace(request, options=replace(request.options, dry_run=True)),
    "what a list names": lambda request: replace(request, source_list=b"/list"),
}


@pytest.mark.parametrize("change", SAME)
def test_how_it_is_done_may_be_changed(change: str) -> None:
    assert fingerprint(SAME[change](COPY)) == fingerprint(COPY)


@pytest.mark.parametrize("change", OTHER)
def test_what_is_done_may_not(change: str) -> None:
    assert fingerprint(OTHER[change](COPY)) != fingerprint(COPY)


def test_every_option_is_either_how_or_what() -> None:
    assert set(Options.__slots__) >= opening_ledger._HOW


def test_without_being_asked_only_runs_in_jobs_have_a_ledger(desk: Desk) -> None:
    assert desk.open(replace(COPY, options=replace(COPY.options, dry_run=True))) is None
    assert desk.use() == ("hpcp-mpi-7.ledger", False)
    desk.environment = {}
    for verb in (Verb.COPY, Verb.COMPARE, Verb.LIST):
        assert desk.open(replace(COPY, verb=verb)) is None
    assert desk.names == ["hpcp-mpi-7.ledger"] and desk.said == []


def test_a_job_that_starts_again_goes_on_unasked(desk: Desk) -> None:
    assert desk.use() == ("hpcp-mpi-7.ledger", False)
    assert desk.use(restarts=1) == ("hpcp-mpi-7.ledger", True)
    assert desk.use(resume=True) == ("hpcp-mpi-7.ledger", True)


def test_with_a_name_that_was_given_too(desk: Desk) -> None:
    assert desk.use(ledger="mine") == ("mine", False)
    assert desk.use(ledger="mine", restarts=1) == ("mine", True)
    assert desk.use(ledger="not yet", restarts=1) == ("not yet", False)
    assert "nothing to resume" in desk.said[0]


def test_commands_of_one_job_find_their_own_ledgers_again(desk: Desk) -> None:
    others = [COPY, replace(COPY, sources=(b"/data/c",)), replace(COPY, sources=(b"/data/d",))]
    names = [desk.use(request) for request in others]
    assert names == [("hpcp-mpi-7.ledger", False), ("hpcp-mpi-7-2.ledger", False), ("hpcp-mpi-7-3.ledger", False)]
    again = [desk.use(request, restarts=1) for request in reversed(others)]
    assert again == [(name, True) for name, _ in reversed(names)]
    # One that the job did not come to has a new one.
    assert desk.use(replace(COPY, sources=(b"/data/e",)), restarts=1) == ("hpcp-mpi-7-4.ledger", False)
    assert len(desk.names) == 4


def test_the_same_command_twice_in_a_job_does_not_go_on_unless_the_job_does(desk: Desk) -> None:
    assert [desk.use(), desk.use()] == [("hpcp-mpi-7.ledger", False), ("hpcp-mpi-7-2.ledger", False)]


def test_tasks_of_an_array_have_their_own(desk: Desk) -> None:
    desk.environment |= {"SLURM_ARRAY_JOB_ID": "5"}
    for task in ("1", "2"):
        desk.environment |= {"SLURM_ARRAY_TASK_ID": task}
        assert desk.use() == (f"hpcp-mpi-5_{task}.ledger", False)
        assert desk.use(restarts=1) == (f"hpcp-mpi-5_{task}.ledger", True)


def test_what_cannot_be_gone_on_with_is_refused_where_it_was_asked_for(desk: Desk) -> None:
    with pytest.raises(FatalError, match="there is no ledger"):
        desk.open(ledger="no", resume=True)
    desk.use(ledger="mine")
    with pytest.raises(FatalError, match="belongs to another run"):
        desk.open(OTHER["a mirror"](COPY), ledger="mine", resume=True)
    with pytest.raises(FatalError, match="already"):
        desk.open(ledger="mine")
    assert rows(desk.place / "mine", "SELECT count(*) FROM run") == [(1,)]


def test_a_jobs_ledger_that_is_damaged_does_not_keep_the_job_from_starting(desk: Desk) -> None:
    (desk.place / "hpcp-mpi-7.ledger").write_bytes(b"something else" * 1000)
    assert desk.use(restarts=1) == ("hpcp-mpi-7-2.ledger", False)
    assert "is not a ledger" in desk.said[0]


def test_nor_does_a_place_where_none_can_be(desk: Desk) -> None:
    desk.environment["SLURM_SUBMIT_DIR"] = str(desk.place / "gone")
    assert desk.open() is None
    assert "continues without one" in desk.said[0]
    with pytest.raises(FatalError):
        desk.open(ledger="gone/too")


def test_where_others_may_write_to_the_directory_of_submission_the_ledger_is_in_the_users_own(desk: Desk) -> None:
    (desk.place / "home").mkdir()
    group = desk.place / "group"
    group.mkdir()
    group.chmod(0o2775)
    desk.environment |= {"SLURM_SUBMIT_DIR": str(group), "HOME": str(desk.place / "home")}
    moved = desk.place / "home/.local/state/hpcp-mpi/hpcp-mpi-7.ledger"
    assert desk.use() == ("hpcp-mpi-7.ledger", False)
    assert moved.exists() and moved.parent.stat().st_mode & 0o777 == 0o700 and os.listdir(group) == []
    assert "may write to" in desk.said[-1] and f"it is {moved}" in desk.said[-1]
    assert desk.use(restarts=1) == ("hpcp-mpi-7.ledger", True)
    group.chmod(0o755)
    assert desk.use(restarts=2) == ("hpcp-mpi-7.ledger", True), "the one that it began with"
    assert os.listdir(group) == []


def test_where_neither_is_safe_the_run_says_that_it_cannot_be_resumed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = desk.place / "group"
    group.mkdir()
    group.chmod(0o777)
    monkeypatch.setattr(opening_ledger.pwd, "getpwuid", lambda uid: SimpleNamespace(pw_dir=str(group)))
    desk.environment |= {"SLURM_SUBMIT_DIR": str(group), "HOME": str(group), "XDG_STATE_HOME": "relative"}
    for restarts in (0, 1):
        assert desk.open(restarts=restarts) is None
        assert "cannot be resumed" in desk.said[-1] and "--ledger" in desk.said[-1]
    assert os.listdir(group) == []
