"""The lines for the reader of a run, on stderr: news with the time, and problems."""

import sys
import time

from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.paths import in_one_line


class Log:
    """The home of all lines that are no result: each is written in one piece, as launchers forward what they get."""

    def say(self, news: str) -> None:
        """Write what happens, with the time."""
        self.line(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {news}")

    def complain(self, error: FatalError) -> None:
        """Write why the run ends, or never began."""
        self.line(f"hpcp-mpi: {error}")

    def line(self, text: str) -> None:
        """Write text as it is; what others wrote may be in it."""
        # print() would write parts, which launchers forward one by one.
        sys.stderr.write("\n".join(map(in_one_line, text.split("\n"))) + "\n")
        sys.stderr.flush()
