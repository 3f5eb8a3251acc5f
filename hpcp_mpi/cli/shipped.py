"""The job templates and the module file that come with the package, which --print-template and --print-module print.

They lie below slurm and docker/modulefiles of the project; data has links to these, which a wheel has the files of.
"""

import re
import sys
from pathlib import Path
from shlex import quote

_DATA = Path(__file__).resolve().parents[1] / "data"
_ACTIVATE = re.compile(r'(?m)^\. "[^"]*/activate" +# EDIT: ')
_ROOT = re.compile(r"(?m)^set root .+;# EDIT: ")
_PLAIN = re.compile(r"[\w./+@:-]+")  # a path that Tcl takes as it is


def templates() -> str:
    """Return the list of the job templates: each name, and the first sentence of the template."""
    names = sorted(path.stem for path in (_DATA / "slurm").glob("*.sbatch"))
    widest = max(map(len, names))
    lines = [f"{name:<{widest}}  {_first_sentence(_template(name))}" for name in names]
    return "\n".join([*lines, "", f"hpcp-mpi --print-template {names[0]} > {names[0]}.sbatch", ""])


def template(name: str, prefix: str = sys.prefix) -> str:
    """Return a job template, which activates the environment at prefix if that is a virtual one."""
    text = _template(name)
    activate = Path(prefix, "bin/activate")
    if not Path(prefix, "pyvenv.cfg").exists() or not activate.exists():
        return text
    return _ACTIVATE.sub(lambda _: f". {quote(str(activate))}  # EDIT: ", text)


def module_file(prefix: str = sys.prefix) -> str:
    """Return the module file, which shows what is installed at prefix."""
    (file,) = (_DATA / "modulefiles/hpcp-mpi").iterdir()
    text = file.read_text(encoding="utf-8")
    return _ROOT.sub(lambda _: f"set root    {prefix}    ;# EDIT: ", text) if _PLAIN.fullmatch(prefix) else text


def _template(name: str) -> str:
    return (_DATA / f"slurm/{name}.sbatch").read_text(encoding="utf-8")


def _first_sentence(template: str) -> str:
    """Return what the comment at the top of a template begins with."""
    words = " ".join(line[2:] for line in template.splitlines()[1:4])
    return re.split(r"\. |; ", words)[0]
