"""The geometry of a file system: all that its tool prints and a clone is to have, too. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.paths import in_one_line

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a file system was made. fields: what its tool prints, with the tool's names."""

    type: str
    size: int  # bytes of the file system, which may be less than its device has
    block: int  # bytes
    fields: Mapping[str, str] = field(default_factory=dict)
    label: bytes = b""
    uuid: str = ""
    obstacle: str = ""  # why no copy of its files is a clone of it, in words

    @property
    def label_word(self) -> str:
        """Return the label as a word for its mkfs."""
        return self.label.decode("utf-8", "surrogateescape")

    def number(self, name: str, otherwise: int | None = None) -> int:
        """Return a field as a number, of a text as `16 (x)` the first word. Raises FatalError where it is none."""
        words = self.fields.get(name, "").split()
        if not words and otherwise is not None:
            return otherwise
        try:
            return int(words[0], 0)
        except (IndexError, ValueError):
            said = in_one_line(self.fields.get(name, "nothing"))
            raise unclear(self.type, f"{name} is {said}") from None


def unclear(type: str, what: str) -> FatalError:
    """Return the refusal of a file system of which its tool says something that is not understood."""
    return FatalError(
        f"the geometry of this {type} is not understood: {what}",
        "Copy the partition with --raw, or give -nfp for a file system with the defaults of mkfs",
    )


def once(type: str, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return names and values as a dict. Raises FatalError for a name that is there twice, as a label may forge."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise unclear(type, f"{in_one_line(name)} is there twice")
        found[name] = value
    return found
