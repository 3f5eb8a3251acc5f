"""Starting the tool as users do: alone, under MPICH, under Open MPI; as any user; and always with a time limit.

    done = run(["SRC", "DST"], flavour="mpich", n=4)      # or "openmpi", "plain", "nompi"
    with start([...], flavour="openmpi", n=2) as running:
        running.wait_for(r"copying")
        running.signal(signal.SIGINT)
        done = running.finish(timeout=30)

The MPIs come from the environments that `make test` makes; HPCP_MPI_TEST_MPICH and HPCP_MPI_TEST_OPENMPI name
others.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.support import everyone, processes

REPOSITORY = everyone.REPOSITORY
# plain: no launcher, mpi4py installed. nompi: mpi4py cannot be imported.
LAUNCHERS = ("plain", "nompi", "mpich", "openmpi")
WITH_MPIEXEC = ("mpich", "openmpi")
Argument = str | bytes | os.PathLike[str]

# Variables by which a launcher, a batch system or a Python around the tests would influence the tool.
_FOREIGN = re.compile(r"PMI|OMPI|PRTE|OPAL|MPI|HYDRA|SLURM|PYTHON|COVERAGE")
_OF_LAUNCHER = {
    # Containers and hardened kernels refuse process_vm_readv between ranks.
    "mpich": {"MPIR_CVAR_CH4_CMA_ENABLE": "0"},
    "openmpi": {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
}
# Open MPI's launcher could not set itself up, and started nothing: on a busy machine, once in some thousand starts.
_NEVER_BEGAN = re.compile("The PMIx server's listener thread failed to start")
_STARTS = 3


class Hang(AssertionError):
    """The tool did not end in time. All that it had started has been killed."""


@dataclass(frozen=True)
class Finished:
    args: tuple[bytes, ...]
    returncode: int
    stdout: str  # names that are not UTF-8 come as surrogates
    stderr: str
    seconds: float
    left_behind: tuple[str, ...]  # command lines of processes that outlived the tool by more than a second

    def check(self) -> Finished:
        assert self.returncode == 0, str(self)
        return self

    def __str__(self) -> str:
        command = os.fsdecode(b" ".join(self.args)).encode("ascii", "backslashreplace").decode()
        return f"{command}\nexit {self.returncode} after {self.seconds:.1f} s\n{self.stdout}\n{self.stderr}"


@dataclass(frozen=True)
class World:
    """A launcher and a number of ranks, as tests are parametrised with."""

    flavour: str
    n: int = 1

    def __str__(self) -> str:
        return f"{self.flavour}-{self.n}" if self.flavour in WITH_MPIEXEC else self.flavour

    def missing(self) -> str | None:
        """The name of the missing launcher or library, or None."""
        venv = _venv(self.flavour)
        program = venv / "bin" / ("mpiexec" if self.flavour in WITH_MPIEXEC else "python")
        return None if program.exists() else f"no {self.flavour} environment in {venv} (`make test` makes it)"

    def run(self, args: Sequence[Argument], **setting: Any) -> Finished:
        """Run the tool as `run` below does."""
        return run(args, flavour=self.flavour, n=self.n, **setting)

    def start(self, args: Sequence[Argument], **setting: Any) -> AbstractContextManager[Running]:
        """Start the tool as `start` below does."""
        return start(args, flavour=self.flavour, n=self.n, **setting)


def _venv(flavour: str) -> Path:
    if flavour == "openmpi":
        return Path(os.environ.get("HPCP_MPI_TEST_OPENMPI", REPOSITORY / ".venv-openmpi"))
    return Path(os.environ.get("HPCP_MPI_TEST_MPICH", REPOSITORY / ".venv"))


@dataclass(frozen=True)
class _Setting:
    """All settings of a start but the arguments; see `run`."""

    flavour: str = "mpich"
    n: int = 4
    env: Mapping[str, str] | None = None
    cwd: Argument | None = None
    user: str | None = None
    launcher_args: Sequence[str] = ()
    python_args: Sequence[str] = ("-m", "hpcp_mpi")
    wrapper: Sequence[Argument] = ()


def run(args: Sequence[Argument], *, timeout: float = 60, **setting: Any) -> Finished:
    """Run `python -m hpcp_mpi ARGS` and wait. After timeout seconds everything is killed and Hang is raised.

    flavour:       one of LAUNCHERS, by default "mpich"
    n:             ranks, by default 4; flavours without a launcher have one
    env, cwd:      added to the environment; the working directory
    user:          run as this user; needs root, and a place that user may go to
    launcher_args: for mpiexec
    python_args:   what to run instead of the tool, e.g. ("-c", "...") or ("script.py",)
    wrapper:       a command that each rank is started by, as its last words
    """
    for _ in range(_STARTS):
        with start(args, **setting) as running:
            done = running.finish(timeout)
        if not (done.returncode and _NEVER_BEGAN.search(done.stderr)):
            break
    return done


@contextmanager
def start(args: Sequence[Argument], **setting: Any) -> Iterator[Running]:
    """Start the tool as `run` does, without waiting. All that it started is dead after the `with`."""
    how = _Setting(**setting)
    who = pwd.getpwnam(how.user) if how.user is not None else None
    as_user: dict[str, Any] = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if who else {}
    venv, source = _places(how)
    tag = processes.new_tag()
    # Files, not pipes: a pipe stays open as long as any process that was left behind.
    with ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        temporary = stack.enter_context(_temporary(how))
        cwd = how.cwd or _chosen() or stack.enter_context(_anywhere())  # the list of what failed is written there
        began = time.monotonic()
        command = _command(how, venv, args)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**_surroundings(how, venv, source, temporary), processes.TAG: tag},
            cwd=os.fsencode(cwd),
            start_new_session=True,
            **as_user,
        )
        running = Running(process, tuple(command), tag, out, err, began)
        try:
            yield running
        finally:
            processes.kill_all(tag)
            process.kill()
            process.wait()


def command_line(args: Sequence[Argument], **setting: Any) -> tuple[list[bytes], dict[str, str]]:
    """The command and the environment that `start` would use, for callers that start and time it themselves."""
    how = _Setting(**setting)
    venv, source = _places(how)
    return _command(how, venv, args), _surroundings(how, venv, source, {})


def _places(how: _Setting) -> tuple[Path, Path]:
    """The environment and the directory of the source, such that the user can read them."""
    if how.user is None:
        return _venv(how.flavour), REPOSITORY
    return everyone.usable_by_all(_venv(how.flavour)), everyone.source()


def _command(how: _Setting, venv: Path, args: Sequence[Argument]) -> list[bytes]:
    command: list[Argument] = [*how.wrapper, venv / "bin/python", "-X", "faulthandler", *how.python_args, *args]
    if how.flavour in WITH_MPIEXEC:
        more_than_cores = ["--oversubscribe"] if how.flavour == "openmpi" else []
        command = [venv / "bin/mpiexec", *more_than_cores, *how.launcher_args, "-n", str(how.n), *command]
    return [os.fsencode(word) for word in command]


def _surroundings(how: _Setting, venv: Path, source: Path, temporary: Mapping[str, str]) -> dict[str, str]:
    hiding = [str(_without_mpi4py())] if how.flavour == "nompi" else []
    return {
        **{key: value for key, value in os.environ.items() if not _FOREIGN.match(key)},
        "PYTHONPATH": os.pathsep.join([*hiding, str(source)]),
        "PATH": os.pathsep.join([str(venv / "bin"), os.environ.get("PATH", os.defpath)]),
        **_OF_LAUNCHER.get(how.flavour, {}),
        **temporary,
        **({"HOME": everyone.home(how.user)} if how.user is not None else {}),
        **(how.env or {}),
    }


def _chosen() -> str | None:
    """The working directory that a test has gone to; None if it has not."""
    here = os.getcwd()
    return None if os.path.samefile(here, REPOSITORY) else here


@contextmanager
def _anywhere() -> Iterator[str]:
    """A working directory that nothing depends on, in which every user may write."""
    with tempfile.TemporaryDirectory(prefix="hpcp-mpi-cwd-", ignore_cleanup_errors=True) as made:
        os.chmod(made, 0o1777)
        yield made


@contextmanager
def _temporary(how: _Setting) -> Iterator[dict[str, str]]:
    """A temporary directory for each start of Open MPI, as an environment.

    Its launchers share one below TMPDIR, and the one that ends removes it from under the one that starts.
    """
    if how.flavour != "openmpi":
        yield {}
        return
    # A short path: sockets are made in there.
    with tempfile.TemporaryDirectory(prefix="hm", dir="/tmp", ignore_cleanup_errors=True) as made:
        os.chmod(made, 0o1777)
        yield {"TMPDIR": made}


class Running:
    """The tool while it runs."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        command: tuple[bytes, ...],
        tag: str,
        out: IO[bytes],
        err: IO[bytes],
        began: float,
    ) -> None:
        self._process, self._command, self._tag = process, command, tag
        self._out, self._err, self._began = out, err, began

    @property
    def pid(self) -> int:
        """The pid of the launcher, or of the tool without one."""
        return self._process.pid

    def signal(self, number: int) -> None:
        """Signal the launcher (or the tool without one), as `kill` does."""
        self._process.send_signal(number)

    def signal_group(self, number: int) -> None:
        """Signal the foreground process group, as a terminal does on Ctrl-C."""
        os.killpg(self._process.pid, number)

    @property
    def ended(self) -> bool:
        """Whether the launcher has ended."""
        return self._process.poll() is not None

    def processes(self) -> list[processes.Process]:
        """The living processes that it started."""
        return processes.tagged(self._tag)

    def output(self) -> str:
        """stdout so far, then stderr so far."""
        return _text(self._out) + _text(self._err)

    def wait_for(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until the output holds the pattern. Fails when it cannot any more, or takes too long."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self._process.poll() is not None
            match = re.search(pattern, self.output())
            if match:
                return match
            assert not ended, f"ended with {self._process.returncode} without {pattern!r}:\n{self.output()}"
            if time.monotonic() > deadline:
                self._hang(f"no {pattern!r} within {timeout} s")
            time.sleep(0.005)

    def have_told(self) -> str:
        """What the output is when each rank has said what it waits for, see `telling`; for runs that do not end."""
        for process in self.processes():
            if process.is_python:
                process.send(signal.SIGUSR2)
        time.sleep(1)  # nothing announces the last of it
        return self.output()

    def finish(self, timeout: float = 60) -> Finished:
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._hang(f"still running after {timeout} s")
        seconds = time.monotonic() - self._began
        left = processes.settled(self._tag, patience=1.0)
        return Finished(
            args=self._command,
            returncode=self._process.returncode,
            stdout=_text(self._out),
            stderr=_text(self._err),
            seconds=seconds,
            left_behind=tuple(str(process) for process in left),
        )

    def _hang(self, what: str) -> NoReturn:
        """Let every Python print its traceback, kill all processes, and raise Hang."""
        alive = self.processes()
        for process in alive:
            if process.is_python:
                process.send(signal.SIGABRT)
        time.sleep(0.5)  # the tracebacks come through mpiexec; nothing announces the last of them
        processes.kill_all(self._tag)
        listing = "\n".join(f"  {process}" for process in alive)
        raise Hang(f"{what}. Alive were\n{listing}\nOutput:\n{self.output()[-40000:]}")


def _text(file: IO[bytes]) -> str:
    """The content of a file that another process appends to through the same open file: its offset must not move."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode("utf-8", "surrogateescape")


@functools.cache
def _without_mpi4py() -> Path:
    """A directory for PYTHONPATH that hides mpi4py as if it had never been installed."""
    place = everyone.place() / "nompi"
    place.mkdir()
    hidden = 'raise ModuleNotFoundError("No module named \'mpi4py\'", name="mpi4py")\n'
    (place / "mpi4py.py").write_text(hidden)
    return place
