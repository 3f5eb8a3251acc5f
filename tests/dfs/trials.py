"""Trials: a tree, a run whose ranks are on different clients, maybe something that happens to it, and a judgement.

A trial follows from its kind and a number. It is prepared, the caches are waited for, it is carried out, they are
waited for again, and then it is judged as a client sees it that nobody worked on: by rsync, lstat and getfacl. Many
trials share the waiting.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.dfs.places import Place
from tests.support import oracle, processes
from tests.support.copies import changed, cps, stages, state
from tests.support.launch import Argument, Finished, Running, World

PATIENCE = 90.0  # seconds for a run
_TELLING = Path(__file__).parents[1] / "support/telling.py"
_SMALL = ("-f", "20", "--chunk-seconds", "0.1")  # files in a chunk: all ranks get some
_RANGES = (*_SMALL, "--split-size", "1M")
_BASE = 1_500_000_000
MIB = 1 << 20
_ONLY_ATTRIBUTES = re.compile(r"rsync: [.h][fdL]\.{8}x ")
_USERS = ("getfattr", "-RPh", "-d", "-m", r"^user\.")


def grow(tree: Path, rng: random.Random, *, big: int = 0, files: int = 6) -> None:
    """Make a tree: 40 directories below 8 others, files that share inodes across them, links, attributes, holes."""
    names: list[Path] = []
    for number in range(40):
        directory = tree / f"part{number % 8}" / f"d{number}"
        directory.mkdir(parents=True)
        for index in range(files):
            path = directory / f"f{index}"
            path.write_bytes(rng.randbytes(rng.choice((0, 1, 500, 4000, 30_000))))
            names.append(path)
        if number % 5 == 0:
            os.link(rng.choice(names), directory / "hard")
        if number % 7 == 0:
            (directory / "link").symlink_to(rng.choice(("f0", "../nowhere")))
        if number % 6 == 0:
            os.setxattr(directory / "f1", "user.note", b"%d" % number)
        if number % 4 == 0:
            subprocess.run(["setfacl", "-m", f"u:{1000 + number}:r", directory / "f2"], check=True)
            subprocess.run(["setfacl", "-d", "-m", f"g:{1000 + number}:rx", directory], check=True)
        directory.chmod(rng.choice((0o755, 0o700, 0o2770, 0o555)))
    for number in range(big):
        path = tree / f"part{number % 8}" / "big"
        path.write_bytes(rng.randbytes(rng.randint(3, 6) * MIB + 7))
    date(tree, rng)


def date(tree: Path, rng: random.Random) -> None:
    """Give everything an mtime of its own that is long past."""
    for root, directories, files in os.walk(tree, topdown=False):
        for name in (*files, *directories):
            _date(Path(root, name), rng)
    _date(tree, rng)


def _date(path: Path, rng: random.Random) -> None:
    past = _BASE * 10**9 + rng.randrange(10**16)
    os.utime(path, ns=(past, past), follow_symlinks=False)


@dataclass
class Trial:
    """One run, or a few, and what is expected of it."""

    kind: str
    number: int
    place: Place
    local: Path  # a directory on this machine, for a source and a ledger
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.kind} {self.number} {self.place.volume.name}")
        self.mine = f"{self.kind.replace(' ', '-')}-{self.number}"
        (self.place.clients[0] / self.mine).mkdir()
        (self.local / self.mine).mkdir()
        self.inside = KINDS[self.kind].inside or self.rng.random() < 0.4  # the source is on the volume, too
        self.world = World("mpich" if self.rng.random() < 0.9 or _NO_OPENMPI else "openmpi", 3)

    def on(self, client: Path) -> Path:
        """Where the trial is, as a client sees it."""
        return client / self.mine

    @property
    def source(self) -> Path:
        """The source, as the test writes it."""
        return (self.on(self.place.clients[0]) if self.inside else self.local / self.mine) / "src"

    @property
    def dest(self) -> Path:
        """The destination, as the test writes it."""
        return self.on(self.place.clients[0]) / "dst"

    @property
    def source_of_ranks(self) -> Path:
        """The source, as ranks see it."""
        return self.on(self.place.shared) / "src" if self.inside else self.source

    @property
    def source_of_judge(self) -> Path:
        """The source, as the judge sees it."""
        return self.on(self.place.judge) / "src" if self.inside else self.source

    def prepare(self) -> None:
        """Make the source, and what is at the destination before."""
        kind = KINDS[self.kind]
        grow(
            self.source,
            self.rng,
            big=4 if "--split-size" in kind.options else 0,
            files=kind.files,
        )
        kind.prepare(self)
        if kind.moves:
            subprocess.run(["cp", "-a", self.source, self.local / self.mine / "kept"], check=True)

    def act(self) -> None:
        """Carry it out."""
        KINDS[self.kind].act(self)

    def judge(self) -> None:
        """Compare the destination with the source, when no client remembers anything from before."""
        kind, dest = KINDS[self.kind], self.on(self.place.judge) / "dst"
        source = self.local / self.mine / "kept" if kind.moves else self.source_of_judge
        if not dest.exists():
            self.problems.append("there is no destination")
            return
        self.problems += [f"a stage is left: {stage!r}" for stage in stages(dest)]
        # As attributes, rsync sees what XFS bricks show of ACLs; those that are a file's are compared below.
        seen = oracle.differences(source, dest)
        self.problems += [line for line in seen if not _ONLY_ATTRIBUTES.match(line)][:10]
        self.problems += oracle.lstat_differences(source, dest, time_step_ns=self.place.volume.time_step_ns)[:10]
        self.problems += oracle.hard_link_differences(source, dest)[:10]
        self.problems += _attribute_differences(source, dest)[:10]
        if kind.moves and self.source_of_judge.exists():
            left = [os.fsdecode(path) for path in oracle.entries(self.source_of_judge)]
            self.problems.append(f"the source is still there: {len(left)} entries: {left[:10]}")
        self._before = state(dest)

    def again(self) -> None:
        """Run it once more; nothing is to be written."""
        if KINDS[self.kind].moves:
            return
        done = self.run(["-v"], world=World("plain"))
        self.expect(done)
        lines = [line for line in done.stdout.splitlines() if line[:1] in "<>ch*." and line[1:2] in "fdLDSe"]
        self.problems += [f"the second run changes {line}" for line in lines[:10]]

    def judge_again(self) -> None:
        """Look whether the second run has written something.

        Not where servers were lost: GlusterFS goes on healing the directories of a brick that came back.
        """
        if KINDS[self.kind].moves or self.kind in LOSSES:
            return
        dest = self.on(self.place.judge) / "dst"
        touched = changed(self._before, state(dest)) - {b"."}  # there it was tried out what can be stored
        self.problems += [f"the second run wrote to {path!r}" for path in sorted(touched)[:10]]

    def __str__(self) -> str:
        where = "on the volume" if self.inside else "on this machine"
        problems = "\n  ".join(self.problems)
        return f"{self.kind} {self.number} ({self.world}, source {where}) {'; '.join(self.notes)}\n  {problems}"

    # --- for the kinds

    def arguments(self, more: list[Argument]) -> list[Argument]:
        report = self.local / self.mine / "report.json"
        options = [*KINDS[self.kind].options, *more, "--json", report]
        return [*options, self.source_of_ranks, "-d", self.on(self.place.shared) / "dst"]

    def run(self, more: list[Argument], world: World | None = None) -> Finished:
        return self.place.run(world or self.world, self.arguments(more), timeout=PATIENCE)

    @contextmanager
    def started(self, more: list[Argument]) -> Iterator[Running]:
        wrapper, telling = self.place.volume.wrapper, (str(_TELLING),)
        with self.world.start(self.arguments(more), wrapper=wrapper, python_args=telling) as running:
            yield running

    def expect(self, done: Finished, codes: tuple[int, ...] = (0,)) -> None:
        """Note what is wrong with how a run ended."""
        if done.returncode not in codes or "Traceback" in done.stderr or done.left_behind:
            self.problems.append(f"{done}\nleft: {done.left_behind}")

    def report(self) -> dict[str, object]:
        return json.loads((self.local / self.mine / "report.json").read_text())  # type: ignore[no-any-return]

    def arrived(self) -> int:
        """Entries at the destination by now, in stages too."""
        return sum(len(directories) + len(files) for _, directories, files in os.walk(self.dest))

    def when_begun(self, running: Running, most: int) -> None:
        """Wait until some entries, by chance, of most have arrived, or the run is over."""
        wanted = self.rng.randint(1, most)
        until = time.monotonic() + PATIENCE
        while not running.ended and self.arrived() < wanted and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(self.rng.choice((0.0, 0.05, 0.3)))


_NO_OPENMPI = World("openmpi", 3).missing()


def _attribute_differences(source: Path, dest: Path) -> list[str]:
    """What getfacl and getfattr say of one and not of the other."""

    def told(tree: Path, *words: str) -> set[str]:
        done = subprocess.run([*words, "."], cwd=tree, capture_output=True, text=True, check=True)
        return set(done.stdout.split("\n\n"))

    found = told(source, "getfacl", "-RpnP") ^ told(dest, "getfacl", "-RpnP")
    found |= told(source, *_USERS) ^ told(dest, *_USERS)
    return [f"attributes: {text!r} only in one" for text in sorted(found)]


# --- what is there before


def _nothing(trial: Trial) -> None:
    """There is no destination."""


def _changed(trial: Trial) -> None:
    """The destination is a copy; then one file in each of 40 directories is changed in the source."""
    subprocess.run(["cp", "-a", trial.source, trial.dest], check=True)
    for directory in sorted(trial.source.glob("part*/d*")):
        path = directory / f"f{trial.rng.randrange(3, 6)}"
        path.write_bytes(trial.rng.randbytes(trial.rng.choice((3, 700, 9000))))
        _date(path, trial.rng)


def _mixed(trial: Trial) -> None:
    """The destination has what the source does not have, and not all that it has."""
    _changed(trial)
    for directory in sorted(trial.dest.glob("part*/d*")):
        dice = trial.rng.random()
        if dice < 0.2:
            subprocess.run(["rm", "-rf", directory], check=True)
        elif dice < 0.6:
            (directory / "extra").mkdir()
            (directory / "extra/file").write_bytes(b"x")
            (directory / "f1").unlink()


# --- what happens


def _copies(trial: Trial) -> None:
    trial.expect(trial.run([]))


def _is_killed(trial: Trial) -> None:
    """All ranks and what they started die at some moment, as when the power fails; the next run goes on."""
    ledger = trial.local / trial.mine / "ledger"
    with trial.started(["--ledger", ledger]) as running:
        trial.when_begun(running, 300)
        struck = not running.ended
        processes.kill_all(running._tag)
        for pid in cps(trial.on(trial.place.shared), trial.on(trial.place.clients[0])):
            os.kill(pid, signal.SIGKILL)
        running.finish(PATIENCE)
    arrived = trial.arrived()
    done = trial.run(["--ledger", ledger, "--resume"])
    trial.notes.append(f"{'killed' if struck else 'over'} at {arrived} entries")
    trial.expect(done)


def _loses(lose: Callable[[Trial], Callable[[], None]], seconds: float) -> Callable[[Trial], None]:
    """Something is lost and comes back after seconds. The run ends by itself; one more gets it right."""

    def act(trial: Trial) -> None:
        with trial.started([]) as running:
            trial.when_begun(running, 250)
            struck = not running.ended
            back = lose(trial)
            until = time.monotonic() + seconds
            while time.monotonic() < until and not running.ended:
                time.sleep(0.05)
            early = running.ended
            back()
            until = time.monotonic() + PATIENCE
            while not running.ended and time.monotonic() < until:
                time.sleep(0.1)
            if not running.ended:
                trial.problems.append(f"does not end by itself; programs:\n{_in_the_kernel(running)}")
                running.have_told()  # what it is finished with shows it
            done = running.finish(1)
        trial.notes.append(
            f"{'struck' if struck else 'over before'}, exit {done.returncode} after {done.seconds:.0f} s"
            f"{', before it was back' if early and struck else ''}"
        )
        trial.expect(done, (0, 23))
        trial.place.volume.settle()
        trial.expect(trial.run([]))

    return act


def _in_the_kernel(running: Running) -> str:
    """Where the programs are that ranks wait for: no other tool tells whether it is the client that does not answer."""
    lines = []
    for rank in running.processes():
        for children in Path(f"/proc/{rank.pid}/task").glob("*/children"):
            try:
                for pid in children.read_text().split():
                    command = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
                    lines += [f"{pid} {command}", Path(f"/proc/{pid}/stack").read_text()]
            except OSError:
                continue  # it has ended
    return "\n".join(lines)


def _a_storage_server(trial: Trial) -> Callable[[], None]:
    volume = trial.place.volume
    number = trial.rng.randint(1, volume.storage_servers)
    volume.lose_storage(number)
    return lambda: volume.bring_back_storage(number)


def _the_metadata(trial: Trial) -> Callable[[], None]:
    trial.place.volume.lose_metadata()
    return trial.place.volume.bring_back_metadata


@dataclass(frozen=True)
class Kind:
    """A kind of trial."""

    options: tuple[str, ...] = _SMALL
    prepare: Callable[[Trial], None] = _nothing
    act: Callable[[Trial], None] = _copies
    inside: bool = False  # the source is on the volume in any case
    moves: bool = False
    files: int = 6


KINDS = {
    "new copy": Kind(),
    "re-sync": Kind(prepare=_changed),
    "all list": Kind((*_SMALL, "-pfl"), files=12),
    "all list, re-sync": Kind((*_SMALL, "-pfl"), prepare=_changed),
    "ranges": Kind(_RANGES),
    "mirror": Kind((*_SMALL, "-rme", "-rf"), prepare=_mixed),
    "move": Kind((*_SMALL, "-rm", "-rf"), inside=True, moves=True),
    "verified": Kind((*_RANGES, "--verify"), prepare=_changed),
    "resumed": Kind(_RANGES, act=_is_killed),
    "storage lost": Kind(_RANGES, act=_loses(_a_storage_server, 3.0)),
    "master lost": Kind(_RANGES, act=_loses(_the_metadata, 10.0)),
}
LOSSES = [kind for kind in KINDS if kind.endswith("lost")]
QUIET = [kind for kind in KINDS if kind not in LOSSES]


def play(trials: list[Trial]) -> None:
    """Carry out trials on one volume, and judge them; what is wrong with each is in its problems."""
    volume = trials[0].place.volume
    steps: list[Callable[[Trial], None]] = [Trial.prepare, Trial.act, Trial.judge, Trial.again, Trial.judge_again]
    for step in steps:
        for trial in trials:
            try:
                if step in (Trial.prepare, Trial.act) or not trial.problems:
                    step(trial)
            except AssertionError as error:
                trial.problems.append(str(error))
        if step is not Trial.judge:
            volume.settle()
