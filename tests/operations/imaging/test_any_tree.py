"""Any trees go into an image and come out equal; any changes of them are brought into it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support import packed
from tests.support.effort import TO_THE_END
from tests.support.marks import needs_commands, needs_root
from tests.support.packed import differences, pack, problems_of, rsync_finds
from tests.support.small_trees import Tree, meddle, trees
from tests.support.trees import Dir, build

pytestmark = [pytest.mark.root, needs_commands(*packed.COMMANDS)]
_FEW = settings(
    max_examples=15 if TO_THE_END else 2,  # each is eight trees
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # a smaller example takes hundreds of runs
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@needs_root
@_FEW
@given(some=st.lists(trees(), min_size=8, max_size=8), kind=st.sampled_from(["ext4", "xfs", "btrfs"]), data=st.data())
def test_any_trees_come_back_equal_and_changes_of_them_are_mirrored(
    on_tmpfs: Path, some: list[Tree], kind: str, data: st.DataObject
) -> None:
    place = Path(tempfile.mkdtemp(dir=on_tmpfs))
    source, image = place / "s", place / "i.img"
    build(place, {"s": Dir({str(number): Dir({}) for number in range(len(some))})})
    for number, tree in enumerate(some):
        build(source / str(number), tree)
    pack(source, "-di", image, "--image-fs", kind).check()
    assert problems_of(image) == ""
    assert differences(source, image) == ""
    pack("-si", image, "-d", place / "out").check()
    assert rsync_finds(source, place / "out" / source.relative_to("/")) == ""
    for number in range(len(some)):
        meddle(data.draw, source / str(number))
    pack(source, "-di", image, "-rme", "-rf", "--verify").check()
    assert problems_of(image) == ""
    assert differences(source, image) == ""
