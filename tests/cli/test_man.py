"""The man page: correct roff, with every option and exit code in it."""

from __future__ import annotations

import ast
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

import hpcp_mpi
from hpcp_mpi.cli.help import Described, Section
from hpcp_mpi.cli.man import man_page
from hpcp_mpi.cli.parser import build_parser, described
from hpcp_mpi.vocab.errors import EXIT_CODES
from tests.support.launch import run
from tests.support.marks import needs_commands


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("man") / "hpcp-mpi.1"
    path.write_text(run(["--print-man"], flavour="plain").check().stdout)
    return path


def shown(page: Path) -> str:
    """The page as a reader sees it, in ASCII and without overstriking, on very long lines."""
    command = ["groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=1000n", "-rHY=0", page]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs_commands("mandoc")
def test_mandoc_finds_nothing_to_say_about_it(page: Path) -> None:
    done = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


@needs_commands("groff")
def test_it_has_the_sections_of_a_man_page_in_their_order(page: Path) -> None:
    sections = re.findall(r"^([A-Z][A-Z ]+)$", shown(page), re.MULTILINE)
    assert sections == [
        *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"),
        *("EXAMPLES", "ENVIRONMENT", "FILES", "LIMITS", "SEE ALSO"),
    ]


# How the variables are called that launchers, batch systems, terminals and users set.
VARIABLE = re.compile(
    r"(SLURM|PMI|PMIX|OMPI|MV2|PALS|FLUX|MPI|MPIR|XDG|LC)_[A-Z_0-9]+|TERM|COLUMNS|NO_COLOR|TMPDIR|HOME"
)


@needs_commands("groff")
def test_every_variable_that_the_program_reads_is_in_it(page: Path) -> None:
    text = shown(page).partition("\nENVIRONMENT\n")[2].partition("\nFILES\n")[0]
    read = {
        node.value
        for path in Path(hpcp_mpi.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and VARIABLE.fullmatch(node.value)
    }
    assert {"SLURM_JOB_ID", "PMI_RANK", "XDG_STATE_HOME"} <= read
    assert [name for name in sorted(read) if not re.search(rf"\b{name}\b", text)] == []


@needs_commands("groff")
def test_the_script_for_slurm_is_set_line_by_line_and_a_shell_parses_it(page: Path) -> None:
    """Also its options: hpcp-mpi's are those of the parser."""
    text = shown(page)
    script = textwrap.dedent(text[text.index("       #!/bin/bash") : text.index("\nENVIRONMENT\n")])
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash" and sum(line.startswith("#SBATCH --") for line in lines) == 3
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "hpcp-mpi /scratch" in script


@needs_commands("groff")
def test_every_option_and_every_exit_code_is_in_it(page: Path) -> None:
    text = shown(page)
    for action in build_parser()._actions:
        for name in action.names:  # type: ignore[attr-defined]
            assert re.search(rf"(?<![-\w]){re.escape(name)}(?![-\w])", text), name
    for section in described():
        for option in section.options:
            assert option.text.split(";")[0] in text
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^ +{code} +{re.escape(meaning)}", text, re.MULTILINE)


@needs_commands("groff", "mandoc")
def test_whatever_an_option_says_is_printed_as_it_is(tmp_path: Path) -> None:
    awkward = r"'quoted' .and \n back\slash, -minus --long ~tilde ^caret `tick` \fB %s {x} " + "long " * 40 + ".end"
    option = Described(("-q", "--a-b_c"), "VALUE", True, awkward)
    path = tmp_path / "page.1"
    path.write_text(man_page([Section(".a 'title'", (option,))], "1.0", "2026-01-31"))
    text = shown(path)
    assert awkward in text and "-q, --a-b_c [VALUE]" in text and ".a 'title'" in text
    assert subprocess.run(["mandoc", "-T", "lint", path], capture_output=True, text=True).stdout == ""
