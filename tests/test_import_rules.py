"""Who may import whom: the rooms of ARCHITECTURE.md, kept by reading the imports.

Imports inside functions and under TYPE_CHECKING count too: a dependency is one whenever it is made.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "hpcp_mpi"
REPOSITORY = Path(__file__).resolve().parents[1]
MAX_LINES = 400

BASE = {"cluster", "scheduling", "host", "rules", "vocab"}
ENGINE = BASE | {"engine", "formats"}
# What each room may import besides itself. Below operations/ each package is a room; "operations" is what lies in it
# directly.
MAY_IMPORT: dict[str, set[str]] = {
    "vocab": set(),
    "formats": {"vocab"},
    "rules": {"vocab"},
    "scheduling": {"vocab"},
    "host": {"vocab"},
    "host/block": {"host", "vocab"},
    "ledger": {"host", "vocab"},
    "cluster": {"scheduling", "vocab"},
    "engine": BASE,
    "operations/prepare": ENGINE,
    "operations/scan": ENGINE,
    "operations/verify": ENGINE,
    "operations/remove": ENGINE | {"operations/prepare"},
    "operations/list_files": ENGINE | {"operations/prepare"},
    "operations/mirror": ENGINE | {"operations/scan", "operations/remove"},
    "operations/move": ENGINE | {"operations/prepare", "operations/remove"},
    "operations/compare": ENGINE | {f"operations/{each}" for each in ("prepare", "scan", "list_files")},
    "operations/copy": ENGINE | {f"operations/{each}" for each in ("prepare", "scan", "verify", "mirror", "move")},
    "operations/imaging": ENGINE
    | {f"operations/{each}" for each in ("prepare", "copy", "compare", "list_files")}
    | {"host/block"},
    "operations": ENGINE
    | {f"operations/{each}" for each in ("prepare", "scan", "verify", "remove", "list_files", "mirror", "move")}
    | {"operations/compare", "operations/copy", "operations/imaging", "ledger"},
    "cli": ENGINE | {"operations", "operations/prepare", "operations/compare", "ledger", ""},
    "api": ENGINE | {"operations", "operations/prepare", "ledger", ""},
    # hpcp_mpi/__init__.py: the door to the Python API, which is loaded by name when it is asked for.
    "": {"vocab"},
    # hpcp_mpi/__main__.py: the door to the command line.
    "__main__": {"cli"},
}
# Of a room that may import another one only this module may, or only this one of the other.
ONLY_BY = {
    ("operations", "ledger"): "operations/open_ledger.py",
    ("cli", "ledger"): "cli/status.py",
    ("api", "ledger"): "api/others.py",
}
ONLY_THIS = {("cli", "ledger"): "ledger.reader", ("api", "ledger"): "ledger.reader"}
# Rooms of which every module is pure: no call of the system, no clock, no MPI. Elsewhere a docstring says "Pure.".
PURE = {"vocab", "formats", "rules", "scheduling"}
PURE_PACKAGE = "hpcp_mpi.operations.imaging.rules."  # of many modules, all of them
SAYS_PURE = re.compile(r"\bPure\b")
# Modules and packages from elsewhere that have one home; () is none at all.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "mpi4py": ("cluster/mpi.py",),
    "subprocess": ("host/commands.py",),
    "argparse": ("cli/parser.py",),
    "sqlite3": ("ledger/",),
    "multiprocessing": (),  # forks after MPI_Init, which MPI libraries forbid
}


@dataclass(frozen=True)
class Import:
    module: str  # dotted, absolute
    line: int
    typing: bool  # under TYPE_CHECKING


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

    def visit(node: ast.AST, typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, typing) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                    here = here[: len(here) - child.level + 1]
                    base = ".".join([*here, *([base] if base else [])])
                for alias in child.names:
                    full = f"{base}.{alias.name}"
                    yield Import(full if full in known else base, child.lineno, typing)
            checked = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from visit(child, typing or checked)

    yield from visit(ast.parse(path.read_bytes()), False)


def room_of(module: str, known: dict[str, Path]) -> str:
    """hpcp_mpi.rules.landing -> rules; hpcp_mpi.operations.copy.check -> operations/copy; hpcp_mpi -> "" """
    parts = module.split(".")[1:]
    if parts[:2] == ["host", "block"]:
        return "host/block"
    if parts[:1] == ["operations"] and known.get(".".join(["hpcp_mpi", *parts[:2]]), Path("x")).name == "__init__.py":
        return "/".join(parts[:2]) if len(parts) > 1 else "operations"
    return parts[0] if parts else ""


def violations(package: Path) -> list[str]:
    """Every broken rule, as file:line and the rule."""
    known = modules(package)
    pure = {name for name, path in known.items() if is_pure(name, path, known)}
    found = []
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        where = path.relative_to(package).as_posix()
        room, graph[name] = room_of(name, known), set()
        if room not in MAY_IMPORT:
            found.append(f"{where}: there is no room {room!r}")
        lines = len(path.read_text().splitlines())
        if lines > MAX_LINES:
            found.append(f"{where}: {lines} lines, more than {MAX_LINES}")
        if path.name == "__init__.py" and room and len(ast.parse(path.read_bytes()).body) != 1:
            found.append(f"{where}: the sign of a package is a docstring and nothing else")
        for each in imports(name, path, known):
            target = room_of(each.module, known) if each.module in known else None
            found += [f"{where}:{each.line}: {problem}" for problem in _problems(room, where, each, target)]
            if name in pure and room not in PURE and target is not None and each.module not in pure:
                found.append(f"{where}:{each.line}: a pure module may not import {each.module}, which is not")
            # What the door shows to type checkers is its purpose: it stands above the rooms that take its version.
            if target is not None and each.module != name and not (name == package.name and each.typing):
                graph[name].add(each.module)
    return found + [f"circle: {' -> '.join(circle)}" for circle in circles(graph)]


def is_pure(name: str, path: Path, known: dict[str, Path]) -> bool:
    """Return whether a module says that it is pure, or lies in a room of pure ones."""
    docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return room_of(name, known) in PURE or name.startswith(PURE_PACKAGE) or bool(SAYS_PURE.search(docstring))


def _problems(room: str, where: str, each: Import, target: str | None) -> Iterator[str]:
    outside = each.module.split(".")[0]
    if room == "" and target == "api" and each.typing:
        return
    if target is not None:
        if target != room and target not in MAY_IMPORT.get(room, set()):
            yield f"{room or 'the API'} may not import {target or 'the API'} ({each.module})"
        way = (room, target)
        if where != ONLY_BY.get(way, where) or not each.module.endswith(ONLY_THIS.get(way, "")):
            yield f"{room} may import {target} only in {ONLY_BY[way]} ({each.module})"
        if where.endswith("/worker.py") and each.module.endswith(".rank0"):
            yield f"a worker may not import what rank 0 does ({each.module})"
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


def test_the_rules_let_no_rooms_import_each_other() -> None:
    assert circles(MAY_IMPORT) == []


def test_a_worker_rank_loads_no_more_modules_than_it_needs() -> None:
    """A thousand ranks that import are a load for the file system that they are imported from."""
    loaded = subprocess.run(
        [sys.executable, "-c", WORKER], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "hpcp_mpi.operations.copy.worker" in loaded
    assert not [name for name in loaded if name.endswith(".rank0") or name.startswith("hpcp_mpi.ledger")]
    assert len(loaded) <= MOST_LOADED, loaded


# What a rank but the first imports before it has work: hpcp_mpi/cli/main.py, and what that imports to serve.
WORKER = """
import sys
import hpcp_mpi.cli.main, hpcp_mpi.operations.session
print(*(name for name in sys.modules if name.split(".")[0] == "hpcp_mpi"))
"""
MOST_LOADED = 79  # packages are modules, too

GOOD = {
    "__init__.py": "if TYPE_CHECKING:\n    from hpcp_mpi.api.copies import copy\n",
    "api/__init__.py": "",
    "api/copies.py": "from hpcp_mpi.cluster import mpi\nfrom hpcp_mpi import __version__\n",
    "__main__.py": "from hpcp_mpi.cli.main import console\n",
    "vocab/__init__.py": "",
    "vocab/words.py": "import os\n",
    "rules/cut.py": "from ..vocab import words\nfrom .weigh import weigh\n",
    "rules/weigh.py": "def weigh(): ...\n",
    "host/commands.py": "import subprocess\n",
    "cluster/mpi.py": "def world():\n    from mpi4py import MPI\n",
    "engine/coordinator.py": "import hpcp_mpi.rules.cut, hpcp_mpi.cluster.mpi\n",
    "operations/__init__.py": "",
    "operations/session.py": "def lead():\n    import hpcp_mpi.operations.copy.rank0\n",
    "operations/open_ledger.py": "from hpcp_mpi.ledger import file\n",
    "operations/scan/__init__.py": "",
    "operations/scan/rank0.py": "from hpcp_mpi.operations.scan import rules\n",
    "operations/scan/rules.py": '"""What is done. Pure."""\nfrom hpcp_mpi.rules import weigh\n',
    "operations/copy/__init__.py": "",
    "operations/copy/rank0.py": "from hpcp_mpi.operations.scan.rank0 import x\n",
    "operations/copy/worker.py": "from hpcp_mpi.operations.scan import rules\n",
    "cli/main.py": "from hpcp_mpi import copy\nfrom hpcp_mpi.cli import parser\n",
    "cli/parser.py": "import argparse\n",
    "cli/status.py": "from hpcp_mpi.ledger.reader import read\n",
    "ledger/file.py": "import sqlite3\n",
    "ledger/reader.py": "from hpcp_mpi.ledger import file\n",
}
GOOD = {name: text or '"""The sign."""\n' for name, text in GOOD.items()}
BAD = {
    "a pure room uses another": (
        {"rules/bad.py": "from hpcp_mpi.host import commands\n"},
        "rules may not import host",
    ),
    "by a relative import": ({"rules/bad.py": "from ..host.commands import x\n"}, "rules may not import host"),
    "inside a function": (
        {"scheduling/bad.py": "def f():\n    import hpcp_mpi.rules.cut\n"},
        "scheduling may not import rules",
    ),
    "under TYPE_CHECKING": (
        {"formats/bad.py": "if TYPE_CHECKING:\n    import hpcp_mpi.cli.main\n"},
        "formats may not import cli",
    ),
    "vocab uses a room": ({"vocab/bad.py": "import hpcp_mpi.rules.cut\n"}, "vocab may not import rules"),
    "cluster uses host": (
        {"cluster/bad.py": "from hpcp_mpi.host import commands\n"},
        "cluster may not import host",
    ),
    "engine uses an operation": (
        {"engine/bad.py": "from hpcp_mpi.operations.scan import rules\n"},
        "engine may not import operations/scan",
    ),
    "an operation uses one that it may not": (
        {"operations/scan/bad.py": "from hpcp_mpi.operations.copy import worker\n"},
        "operations/scan may not import operations/copy",
    ),
    "an operation uses what is above all of them": (
        {"operations/copy/bad.py": "from hpcp_mpi.operations import session\n"},
        "operations/copy may not import operations (",
    ),
    "a worker uses what rank 0 does": (
        {"operations/copy/worker.py": "from hpcp_mpi.operations.copy.rank0 import x\n"},
        "a worker may not import what rank 0 does",
    ),
    "a pure module uses one that is not": (
        {"operations/scan/rules.py": '"""Pure."""\nfrom hpcp_mpi.engine import coordinator\n'},
        "a pure module may not import hpcp_mpi.engine.coordinator",
    ),
    "a package holds code": (
        {"operations/copy/__init__.py": '"""The sign."""\nimport os\n'},
        "the sign of a package is a docstring",
    ),
    "the ledger is opened elsewhere": (
        {"operations/bad.py": "from hpcp_mpi.ledger import file\n"},
        "operations may import ledger only in operations/open_ledger.py",
    ),
    "cli writes a ledger": (
        {"cli/status.py": "from hpcp_mpi.ledger import file\n"},
        "cli may import ledger only in cli/status.py (hpcp_mpi.ledger.file)",
    ),
    "a room uses the API": (
        {"operations/bad.py": "from hpcp_mpi import copy\n"},
        "operations may not import the API",
    ),
    "the door is open": ({"__init__.py": "from hpcp_mpi.cluster import mpi\n"}, "the API may not import cluster"),
    "the API uses the command line": ({"api/bad.py": "import hpcp_mpi.cli.main\n"}, "api may not import cli"),
    "mpi4py elsewhere": ({"cluster/bad.py": "from mpi4py import MPI\n"}, "mpi4py belongs in cluster/mpi.py"),
    "subprocess elsewhere": (
        {"host/bad.py": "import subprocess as s\n"},
        "subprocess belongs in host/commands.py",
    ),
    "argparse elsewhere": ({"cli/bad.py": "import argparse\n"}, "argparse belongs in cli/parser.py"),
    "sqlite3 elsewhere": ({"operations/bad.py": "import sqlite3\n"}, "sqlite3 belongs in ledger/"),
    "multiprocessing anywhere": ({"host/bad.py": "import multiprocessing.pool\n"}, "belongs in no module"),
    "a circle": (
        {"rules/weigh.py": "from hpcp_mpi.rules import cut\n"},
        "circle: hpcp_mpi.rules.cut -> hpcp_mpi.rules.weigh -> hpcp_mpi.rules.cut",
    ),
    "a room nobody planned": ({"utils/misc.py": ""}, "there is no room 'utils'"),
    "a file that is too long": ({"rules/bad.py": "#\n" * (MAX_LINES + 1)}, "401 lines"),
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
