"""`python -m tests.chaos`: many rounds with random numbers, or one with a given one."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.rounds import planned, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, help="of the only round")
    parser.add_argument("--first", type=int, help="the seeds are this and those that follow (default: random)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no round after so many")
    parser.add_argument("--place", default="/dev/shm", help="where trees are made")
    parser.add_argument("--keep", action="store_true", help="leave the trees of failed rounds there")
    given = parser.parse_args()
    first = given.first if given.first is not None else random.SystemRandom().randrange(10**6, 10**9)
    seeds = [given.seed] if given.seed is not None else range(first, first + given.rounds)
    began, failed, struck, rounds = time.monotonic(), [], Counter[str](), 0
    for seed in seeds:
        if time.monotonic() - began > given.seconds:
            break
        rounds += 1
        place = Path(tempfile.mkdtemp(prefix="hpcp-mpi-chaos-", dir=given.place))
        since = time.monotonic()
        try:
            result = play(seed, place)
        except Exception as error:
            failed.append(seed)
            print(f"FAILED {error if isinstance(error, AssertionError) else repr(error)}", flush=True)
            if given.keep:
                print(f"left in {place}")
                continue
        else:
            struck[result.phase if result.struck else "(too late)"] += 1
            hit = f"in {result.phase}" if result.struck else "too late"
            print(f"{time.monotonic() - since:4.1f} s {planned(seed)}: {hit}. {result.looked}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
    print(f"{rounds} rounds, {len(failed)} failed: {failed}. Struck: {dict(struck)}")
    return bool(failed)


sys.exit(main())
