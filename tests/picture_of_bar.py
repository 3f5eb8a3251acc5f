"""The picture of the bar in the documentation, made of what a real run drew.

Called as .venv/bin/python tests/picture_of_bar.py [RANKS].
It copies files below /dev/shm with a rate limit, in a terminal of its own, and writes docs/progress.svg.
"""

import io
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 100
FRAME = re.compile(rb"\r\x1b\[\?7l(.*?)\x1b\[J\x1b\[\?7h")
PARTS = (0.15, 0.5, 0.85)  # of the run: the frames that are shown


def recorded(command: list[str], cwd: str) -> bytes:
    """Run a command on a terminal; return what it wrote there."""
    ours, its = pty.openpty()
    ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, stdin=its, stdout=its, stderr=its, cwd=cwd, env=environment, start_new_session=True
    )
    os.close(its)
    written = b""
    while process.poll() is None or select.select([ours], [], [], 0.2)[0]:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                written += os.read(ours, 1 << 16)
            except OSError:
                break
    os.close(ours)
    return written


def main() -> None:
    ranks = sys.argv[1] if len(sys.argv) > 1 else "4"
    place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-picture-", dir="/dev/shm"))
    try:
        for number in range(40):
            (place / "results" / f"{number:02}").mkdir(parents=True)
            (place / "results" / f"{number:02}" / "run.dat").write_bytes(bytes(4 << 20))
        here = Path(sys.executable).parent
        command = [str(here / "mpiexec"), "-n", ranks, str(here / "python"), "-m", "hpcp_mpi"]
        written = recorded([*command, "-L", "20M", "results", "backup"], str(place))
    finally:
        shutil.rmtree(place)
    frames = FRAME.findall(written)
    before, _, rest = written.partition(b"\r\x1b[?7l")
    after = rest.rpartition(b"\x1b[?7h")[2].replace(b"\r \x1b[J\r", b"")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ mpiexec -n {ranks} hpcp-mpi results backup", style="bold"))
    shown = [before, *(frames[int(len(frames) * part)] + b"\r\n" for part in PARTS), after]
    for piece in shown:
        for line in piece.decode("utf-8", "replace").replace("\r", "").rstrip("\n").split("\n"):
            if line:
                console.print(Text.from_ansi(line), soft_wrap=True)
    target = Path(__file__).resolve().parents[1] / "docs" / "progress.svg"
    console.save_svg(str(target), title=f"hpcp-mpi: the bar at {', '.join(f'{p:.0%}' for p in PARTS)} of a run")
    print(target)


if __name__ == "__main__":
    main()
