"""The transport over real MPI: messages of any size come in order, and all ranks leave together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.effort import each_value
from tests.support.launch import World
from tests.support.marks import each_world

SCRIPT = str(Path(__file__).with_name("pingpong.py"))


@each_value
@each_world(launchers=("mpich", "openmpi"))
@pytest.mark.parametrize("when", ["together", "late"])
def test_ranks_answer_each_other_in_order_and_end_together(world: World, when: str) -> None:
    done = world.run([when], python_args=(SCRIPT,)).check()
    answered = 20 * (world.n - 1)
    assert sorted(done.stdout.splitlines()) == [
        f"rank {rank} of {world.n} answered {answered}, True" for rank in range(world.n)
    ]
    assert done.left_behind == ()


@each_world(sizes=(2,), launchers=("mpich", "openmpi"))
def test_who_sends_something_big_keeps_polling_until_it_is_gone(world: World) -> None:
    # In containers, and between nodes, such a message moves a block at each poll: 15 MB once took seven seconds.
    script = str(Path(__file__).with_name("bigmessage.py"))
    assert world.run([], python_args=(script,)).check().stdout.split("\n")[0] == "often then seldom"
