"""What is made from the parser's options is in the repository as it would be made now."""

from __future__ import annotations

import pytest

from hpcp_mpi.cli.help import Described, Section
from tests.generated import REPOSITORY, made, options_page, without_date


@pytest.mark.parametrize("name", made())
def test_a_generated_file_is_as_it_would_be_made_now(name: str) -> None:
    assert without_date((REPOSITORY / name).read_text()) == without_date(made()[name]()), "run: make generated"


def test_the_page_of_options_shows_names_values_and_awkward_text_as_they_are() -> None:
    option = Described(("-q", "--a-b"), "X|Y", True, "a_b *c* <d> or `e_<f>`")
    page = options_page([Section("output: what is shown", (option, Described(("SRC",), "", False, "what")))])
    assert page.endswith(
        "\n## Output: what is shown\n\n| option | |\n|---|---|\n"
        "| `-q`, `--a-b [X\\|Y]` | a\\_b \\*c\\* \\<d\\> or `e_<f>` |\n| `SRC` | what |\n"
    )
