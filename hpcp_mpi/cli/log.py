"""The log of a run: lines for the reader on stderr, with what is news and what is a problem told apart."""

import json
import time

from hpcp_mpi.cli.screen import Screen
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.paths import in_one_line


class Log:
    """The home of all lines that are no result."""

    def __init__(self) -> None:
        self.screen = Screen()
        self.quiet = False  # news are not shown
        self.as_json = False  # each line is a JSON object

    def say(self, news: str) -> None:
        """Write what happens, with the time."""
        if not self.quiet:
            self._show("news", news, dated=True)

    def warn(self, news: str) -> None:
        """Write what happens and the reader has to know, with the time."""
        self._show("problem", news, dated=True)

    def complain(self, error: FatalError) -> None:
        """Write why the run ends, or never began."""
        self.line(f"hpcp-mpi: {error}")

    def line(self, text: str) -> None:
        """Write a problem as it is; what others wrote may be in it."""
        self._show("problem", text, dated=False)

    def table(self, text: str, to_stderr: bool) -> None:
        """Print the table of the end; on standard output, if that gets nothing else."""
        if self.quiet:
            return
        if to_stderr:
            self._show("table", text, dated=False)
        else:
            self.screen.clear()
            print(text, flush=True)

    def progress(self, line: str) -> None:
        """Write a line of progress, with the time."""
        self._show("progress", line, dated=True)

    def object(self, event: str, content: dict[str, object]) -> None:
        """Write a JSON object in a line of its own."""
        self.screen.write(json.dumps({"event": event, "time": _now("%Y-%m-%dT%H:%M:%S%z"), **content}) + "\n")

    def _show(self, event: str, text: str, dated: bool) -> None:
        text = "\n".join(map(in_one_line, text.split("\n")))
        if self.as_json:
            self.object(event, {"text": text})
        else:
            self.screen.write(f"{_now('%Y-%m-%d %H:%M:%S')} {text}\n" if dated else f"{text}\n")


def _now(form: str) -> str:
    return time.strftime(form)
