"""Who may import whom: the rooms of ARCHITECTURE.md, kept by reading the imports.

Imports inside functions and under TYPE_CHECKING count too: a dependency is one whenever it is made.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "hpcp_mpi"
REPOSITORY = Path(__file__).resolve().parents[1]
MAX_LINES = 400

PURE = {"vocab"}
MAY_IMPORT: dict[str, set[str]] = {
    "vocab": set(),
    "plan": PURE,
    "stealing": PURE,
    "host": PURE,
    "ledger": PURE,
    "cluster": {"stealing", "vocab"},
    "operations": {"cluster", "host", "ledger", "plan", "stealing", "vocab"},
    "cli": {"operations", "cluster", "vocab", ""},
    # hpcp_mpi/__init__.py: the Python API, which loads what it needs when it is called.
    "": {"operations", "cluster", "vocab"},
    # hpcp_mpi/__main__.py: the door to the command line.
    "__main__": {"cli"},
}
# Modules and packages from elsewhere that have one home; () is none at all.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "mpi4py": ("cluster/mpi.py",),
    "subprocess": ("host/commands.py",),
    "argparse": ("cli/parser.py",),
    "shtab": ("cli/completion.py",),
    "sqlite3": ("ledger/",),
    "multiprocessing": (),  # forks after MPI_Init, which MPI libraries forbid
}


@dataclass(frozen=True)
class Import:
    module: str  # dotted, absolute
    line: int
    lazy: bool  # inside a function


def modules(package: Path) -> dict[str, Path]:
    """Dotted name of every module of the package, and its file."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    """What a module imports. `from package import module` names the module, `from package import thing` the
    package."""

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                    here = here[: len(here) - child.level + 1]
                    base = ".".join([*here, *([base] if base else [])])
                for alias in child.names:
                    full = f"{base}.{alias.name}"
                    yield Import(full if full in known else base, child.lineno, lazy)
            inner = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from visit(child, lazy or inner)

    yield from visit(ast.parse(path.read_bytes()), False)


def room_of(module: str) -> str:
    """hpcp_mpi.plan.weigh -> plan; hpcp_mpi -> "" """
    return module.split(".")[1] if "." in module else ""


def violations(package: Path) -> list[str]:
    """Every broken rule, as file:line and the rule."""
    known = modules(package)
    found = []
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        where = path.relative_to(package).as_posix()
        room, graph[name] = room_of(name), set()
        if room not in MAY_IMPORT:
            found.append(f"{where}: there is no room {room!r}")
        lines = len(path.read_text().splitlines())
        if lines > MAX_LINES:
            found.append(f"{where}: {lines} lines, more than {MAX_LINES}")
        for each in imports(name, path, known):
            found += [f"{where}:{each.line}: {problem}" for problem in _problems(room, where, each, package.name)]
            # The API's lazy imports are its purpose: it stands above the rooms, whatever they take from it.
            if each.module in known and each.module != name and not (name == package.name and each.lazy):
                graph[name].add(each.module)
    return found + [f"circle: {' -> '.join(circle)}" for circle in circles(graph)]


def _problems(room: str, where: str, each: Import, package: str) -> Iterator[str]:
    outside = each.module.split(".")[0]
    if outside == package:
        target = room_of(each.module)
        if target != room and target not in MAY_IMPORT.get(room, set()):
            yield f"{room or 'the API'} may not import {target or 'the API'} ({each.module})"
        if room == "" and target not in ("", "vocab") and not each.lazy:
            yield f"the API may import {target} only inside functions"
    elif outside in ONLY_IN and not where.startswith(ONLY_IN[outside] or ("\0",)):
        yield f"{outside} belongs in {' '.join(ONLY_IN[outside]) or 'no module'}"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One circle per way back that a depth-first walk finds; empty when there is none."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for target in sorted(graph[name]):
                walk(target, [*trail, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found


def test_every_room_imports_only_what_it_may() -> None:
    assert modules(REPOSITORY / PACKAGE), "the package has gone"
    assert violations(REPOSITORY / PACKAGE) == []


GOOD = {
    "__init__.py": "def copy():\n    from hpcp_mpi.operations import copy_verb\n",
    "__main__.py": "from hpcp_mpi.cli.main import console\n",
    "vocab/__init__.py": "",
    "vocab/words.py": "import os\n",
    "plan/__init__.py": "",
    "plan/cut.py": "from ..vocab import words\nfrom .weigh import weigh\n",
    "plan/weigh.py": "def weigh(): ...\n",
    "host/commands.py": "import subprocess\n",
    "cluster/mpi.py": "def world():\n    from mpi4py import MPI\n",
    "operations/copy_verb.py": "import hpcp_mpi.plan.cut, hpcp_mpi.cluster.mpi\n",
    "cli/main.py": "from hpcp_mpi import copy\nfrom hpcp_mpi.cli import parser\n",
    "cli/parser.py": "import argparse\n",
    "ledger/file.py": "import sqlite3\n",
}
BAD = {
    "a pure room uses another": (
        {"plan/bad.py": "from hpcp_mpi.host import commands\n"},
        "plan may not import host",
    ),
    "by a relative import": ({"plan/bad.py": "from ..host.commands import x\n"}, "plan may not import host"),
    "inside a function": (
        {"stealing/bad.py": "def f():\n    import hpcp_mpi.plan.cut\n"},
        "stealing may not import plan",
    ),
    "under TYPE_CHECKING": (
        {"plan/bad.py": "if TYPE_CHECKING:\n    import hpcp_mpi.cli\n"},
        "plan may not import cli",
    ),
    "vocab uses a room": ({"vocab/bad.py": "import hpcp_mpi.plan\n"}, "vocab may not import plan"),
    "cluster uses host": (
        {"cluster/bad.py": "from hpcp_mpi.host import commands\n"},
        "cluster may not import host",
    ),
    "cli uses plan": ({"cli/bad.py": "from hpcp_mpi import plan\n"}, "cli may not import plan"),
    "a room uses the API": (
        {"operations/bad.py": "from hpcp_mpi import copy\n"},
        "operations may not import the API",
    ),
    "the API is eager": ({"__init__.py": "from hpcp_mpi.cluster import mpi\n"}, "only inside functions"),
    "mpi4py elsewhere": ({"cluster/bad.py": "from mpi4py import MPI\n"}, "mpi4py belongs in cluster/mpi.py"),
    "subprocess elsewhere": (
        {"host/bad.py": "import subprocess as s\n"},
        "subprocess belongs in host/commands.py",
    ),
    "argparse elsewhere": ({"cli/bad.py": "import argparse\n"}, "argparse belongs in cli/parser.py"),
    "sqlite3 elsewhere": ({"operations/bad.py": "import sqlite3\n"}, "sqlite3 belongs in ledger/"),
    "multiprocessing anywhere": ({"host/bad.py": "import multiprocessing.pool\n"}, "belongs in no module"),
    "a circle": (
        {"plan/weigh.py": "from hpcp_mpi.plan import cut\n"},
        "circle: hpcp_mpi.plan.cut -> hpcp_mpi.plan.weigh -> hpcp_mpi.plan.cut",
    ),
    "a room nobody planned": ({"utils/misc.py": ""}, "there is no room 'utils'"),
    "a file that is too long": ({"plan/bad.py": "#\n" * (MAX_LINES + 1)}, "401 lines"),
}


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / PACKAGE


def test_a_package_that_keeps_the_rules_passes(tmp_path: Path) -> None:
    assert violations(written(tmp_path, GOOD)) == []


@pytest.mark.parametrize("rule", BAD)
def test_the_check_notices_when(rule: str, tmp_path: Path) -> None:
    files, expected = BAD[rule]
    found = violations(written(tmp_path, {**GOOD, **files}))
    assert len(found) == 1
    assert expected in found[0]
