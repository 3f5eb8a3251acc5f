"""A picture of the progress bar as SVG: `python -m tests.bench.screenshot SRC DST` copies with 4 ranks on a terminal.

What the terminal got until two thirds of the bytes were done is what the picture shows: it is drawn from a real run.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

PICTURE = Path(__file__).resolve().parents[2] / "docs/bar.svg"
COLUMNS, ROWS = 100, 24
SHARE = 66  # percent
RATE = "120M"  # so that it lasts some seconds
PATIENCE = 60.0  # seconds
ERASE = re.compile(r"\r(?:\x1b\[(?:2K|K|J|0J))?|\x1b\[2K")
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def recorded(source: str, destination: str) -> str:
    """What a terminal gets of a copy until SHARE of it is done. The copy is then interrupted."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = ["mpiexec", "-n", "4", "hpcp-mpi", "-L", RATE, source, destination]
    environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "MPIR_CVAR_CH4_CMA_ENABLE": "0"}
    process = subprocess.Popen(
        command, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True, close_fds=True
    )
    os.close(other)
    seen, until = b"", time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until and process.poll() is None:
            if select.select([main], [], [], 0.2)[0]:
                seen += os.read(main, 65536)
            shares = re.findall(rb"(\d+)%", seen)
            if shares and int(shares[-1]) >= SHARE:
                return seen.decode()
        raise SystemExit(f"no {SHARE} % in {PATIENCE:g} s: {seen.decode()[-500:]!r}")
    finally:
        process.terminate()
        process.wait()
        os.close(main)


def screen_of(text: str) -> list[str]:
    """The lines that are left on the screen, each with its colours: of what was drawn over, the last."""
    lines = text.replace("\r\n", "\n").split("\n")
    frames = [
        [part for part in ERASE.split(line) if re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", part).strip()] for line in lines
    ]
    return [parts[-1] for parts in frames if parts]


def drawn(lines: list[str], title: str) -> str:
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line))
    # Fonts would be loaded from elsewhere.
    return FONTS.sub("", console.export_svg(title=title))


def main(source: str, destination: str) -> None:
    lines = screen_of(recorded(source, destination))
    PICTURE.write_text(drawn(lines, f"mpiexec -n 4 hpcp-mpi {source} {destination}"))


if __name__ == "__main__":
    main(*sys.argv[1:])
