"""A hook of MkDocs: documents that lie outside of docs are pages too, and links lead where they do in the repository.

A link to a page of the site leads there. One to another file of the project leads to it in the repository on the web.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[1]
# Beside docs, by their path in the repository, which is theirs in the site too.
ELSEWHERE = (
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "slurm/README.md",
    "docker/README.md",
)
_LINK = re.compile(r"(\]\()([^)\s]+)(?=\))")
_FENCE = re.compile(r"(?ms)(^```.*?^```$)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the documents that lie elsewhere."""
    for name in ELSEWHERE:
        files.append(File.generated(config, _in_site(name), abs_src_path=str(REPOSITORY / name)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Return the text of a page with links that lead somewhere from the site."""
    here = page.file.src_uri
    path = _in_repository(here)

    def led(match: re.Match[str]) -> str:
        return match[1] + _target(match[2], posixpath.dirname(path), posixpath.dirname(here), config, files)

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(led, part) for part in parts)


def _target(link: str, there: str, here: str, config: Any, files: Files) -> str:
    """Return a link of a document in directory `there` of the repository, which is in directory `here` of the site."""
    if re.match(r"[a-z]+:|#", link):
        return link
    path, mark, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(there, path))
    page = _in_site(target)
    if (target.startswith("docs/") or target in ELSEWHERE) and files.get_file_from_path(page) is not None:
        return posixpath.relpath(page, here or ".") + mark + anchor
    kind = "tree" if (REPOSITORY / target).is_dir() else "blob"
    return f"{config.extra['source']}{kind}/main/{target}{mark}{anchor}"


# In the site docs is the root.
def _in_site(path: str) -> str:
    return path.removeprefix("docs/")


def _in_repository(page: str) -> str:
    return page if page in ELSEWHERE else f"docs/{page}"
