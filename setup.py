"""What pyproject.toml cannot say: the description on PyPI is README.md with links that lead somewhere from there."""

import ast
import re
from pathlib import Path

from setuptools import setup

SOURCE = "https://github.com/hpcp-mpi/hpcp-mpi"
HERE = Path(__file__).parent
VERSION = ast.literal_eval(re.findall(r"(?m)^__version__ = (.+)$", (HERE / "hpcp_mpi/__init__.py").read_text())[0])


def absolute(readme: str) -> str:
    """Return the text with links to files of the project as links to those of this version."""

    def led(match: "re.Match[str]") -> str:
        kind = "raw" if match[2].endswith((".svg", ".png")) else "blob"
        return f"{match[1]}{SOURCE}/{kind}/v{VERSION}/{match[2]}"

    return re.sub(r"""(\]\(|<img src=")(?![a-z]+:|#)([^)"\s]+)""", led, readme)


setup(
    long_description=absolute((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
