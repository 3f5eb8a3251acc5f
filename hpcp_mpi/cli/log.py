"""The log of a run: lines for the reader on stderr, with what is news and what is a problem told apart."""

import json
import time

from hpcp_mpi.cli.screen import Screen
from hpcp_mpi.host.log_file import LogFile
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import in_one_line, printable


class Log:
    """The home of all lines that are no result."""

    def __init__(self) -> None:
        self.screen = Screen()
        self.quiet = False  # news are not shown
        self.as_json = False  # each line is a JSON object
        self._file: LogFile | None = None
        self._lost = False  # lines of the file

    @property
    def has_file(self) -> bool:
        """Whether there is a log file as well."""
        return self._file is not None

    def append_to(self, path: bytes) -> None:
        """Write everything to a file, too, each line with its time. Raises FatalError."""
        self._file = LogFile(path)

    def say(self, news: str) -> None:
        """Write what happens, with the time."""
        self._show("news", news, dated=True, shown=not self.quiet)

    def warn(self, news: str) -> None:
        """Write what happens and the reader has to know, with the time."""
        self._show("problem", news, dated=True)

    def remark(self, text: str) -> None:
        """Write news as they are."""
        self._show("news", text, dated=False, shown=not self.quiet)

    def complain(self, error: FatalError) -> None:
        """Write why the run ends, or never began."""
        self.line(f"hpcp-mpi: {error}")

    def line(self, text: str) -> None:
        """Write a problem as it is; what others wrote may be in it."""
        self._show("problem", text, dated=False)

    def table(self, text: str, to_stderr: bool) -> None:
        """Print the table of the end; on standard output, if that gets nothing else."""
        self._show("table", text, dated=False, shown=to_stderr and not self.quiet)
        if not to_stderr and not self.quiet:
            print(text, flush=True)

    def progress(self, line: str) -> None:
        """Write a line of progress, with the time."""
        self._show("progress", line, dated=True)

    def file_only(self, line: str) -> None:
        """Write a line to the log file, with the time."""
        self._show("progress", line, dated=True, shown=False)

    def object(self, event: str, content: dict[str, object]) -> None:
        """Write a JSON object in a line of its own."""
        self.screen.write(json.dumps({"event": event, "time": _now("%Y-%m-%dT%H:%M:%S%z"), **content}) + "\n")

    def _show(self, event: str, text: str, dated: bool, shown: bool = True) -> None:
        lines, now = [in_one_line(line) for line in text.split("\n")], _now("%Y-%m-%d %H:%M:%S ")
        text = "\n".join(lines)
        if shown and self.as_json:
            self.object(event, {"text": text})
        elif shown:
            self.screen.write(f"{now if dated else ''}{text}\n")
        if self._file is not None:
            self._append(self._file, "".join(f"{now}{line}\n" for line in lines))

    def _append(self, file: LogFile, lines: str) -> None:
        try:
            file.write(lines)
        except OSError as error:
            if not self._lost:  # once; it is tried again, as a disk may have room later
                self._lost = True
                self.screen.write(
                    f"hpcp-mpi: lines are lost, as the log file {printable(file.path)} cannot be written: "
                    f"{reason_of(error)}\n"
                )


def _now(form: str) -> str:
    return time.strftime(form)
