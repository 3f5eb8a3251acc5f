"""How people know what is mounted: `IMG:/path` for what lies at a path in a mount. Pure."""

from dataclasses import dataclass, field

from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import child_path, printable, relative_to
from hpcp_mpi.vocab.report import Report


@dataclass(slots=True)
class Shown:
    """The names of mounts: of each mount's path what is shown in its place, as b"x.img:"."""

    names: dict[bytes, bytes] = field(default_factory=dict)

    def path(self, path: bytes) -> bytes:
        """Return a path as it is shown."""
        for mount, name in self.names.items():
            below = relative_to(path, mount)
            if below is not None:
                return child_path(name, below) if below else name + b"/"
        return path

    def text(self, text: str) -> str:
        """Return a text in which mounts may be named as it is shown."""
        for mount, name in self.names.items():
            text = text.replace(printable(mount), printable(name))
        return text

    def renamed(self, error: FatalError) -> FatalError:
        """Return an error in which mounts may be named as it is shown."""
        found = type(error).__new__(type(error))
        FatalError.__init__(found, self.text(error.message), self.text(error.remedy))
        return found


def rename_report(report: Report, shown: Shown) -> Report:
    """Have a report name images instead of mounts; return it."""
    report.sources = [shown.path(path) for path in report.sources]
    report.destination = shown.path(report.destination)
    report.destinations = [shown.path(path) for path in report.destinations]
    report.abilities = {shown.path(path): each for path, each in report.abilities.items()}
    _rename_outcome(report.outcome, shown)
    return report


def _rename_outcome(outcome: Outcome, shown: Shown) -> None:
    outcome.failures = [
        each._replace(path=shown.path(each.path), reason=shown.text(each.reason)) for each in outcome.failures
    ]
    outcome.notes = [(shown.path(path), shown.text(note)) for path, note in outcome.notes]
