"""Whole programs in small: a tree of coroutines, six levels with six children each, 46,656 leaves, as in pyperformance's async_tree.

none: nobody waits; io: each leaf sleeps 50 ms; memo: 90 % of the leaves find their answer in a cache, the others sleep;
mixed: half of the leaves sleep, half compute. With gather, with TaskGroup (`_tg`), and with eager tasks (`_eager`, 3.12
on). The time is that of one whole tree, the 50 ms included.
"""
import math
import random
import sys

import native
from harness import asyncio, case, floor_of

LEVELS = CHILDREN = 6
LEAVES = CHILDREN ** LEVELS


class Workload:
    """What leaves do; a fresh one, with the same seed, for each tree."""

    def __init__(self):
        self.random = random.Random(0)
        self.cache = {}
        self.leaves = 0

    async def none(self):
        self.leaves += 1

    async def io(self):
        self.leaves += 1
        await asyncio.sleep(0.05)

    async def memo(self):
        self.leaves += 1
        key = self.random.randint(1, 100)
        if key <= 90:
            return key
        if key not in self.cache:
            self.cache[key] = True
            await asyncio.sleep(0.05)
        return key

    async def mixed(self):
        self.leaves += 1
        if self.random.random() < 0.5:
            return math.factorial(500)
        await asyncio.sleep(0.05)


async def with_gather(level, leaf):
    if level == 0:
        return await leaf()
    await asyncio.gather(*[with_gather(level - 1, leaf) for _ in range(CHILDREN)])


async def with_floor(gather, level, leaf):
    if level == 0:
        return await leaf()
    await gather(*[with_floor(gather, level - 1, leaf) for _ in range(CHILDREN)])
    return 1


@floor_of
def floor_of_none(n):
    """The coroutines alone, one after the other, where a loop has a level of the tree waiting at once."""
    floor = native.floor()
    trees = max(1, n // 10_000)
    for _ in range(trees):
        work = Workload()
        floor.switch([with_floor(floor.gather, LEVELS, work.none)])
        assert work.leaves == LEAVES
    return trees


async def with_group(level, leaf):
    if level == 0:
        return await leaf()
    async with asyncio.TaskGroup() as group:
        for _ in range(CHILDREN):
            group.create_task(with_group(level - 1, leaf))


def tree_case(kind, suffix, grow, eager):
    @case(f"tree_{kind}{suffix}", operation="tree", start=1, floor=floor_of_none if kind == "none" and not suffix else None,
          about=f"async tree, {kind}, {'TaskGroup' if grow is with_group else 'gather'}{', eager tasks' if eager else ''}")
    async def tree(n):
        loop = asyncio.get_running_loop()
        if eager:
            loop.set_task_factory(asyncio.eager_task_factory)
        for _ in range(n):
            work = Workload()
            await grow(LEVELS, getattr(work, kind))
            assert work.leaves == LEAVES
        loop.set_task_factory(None)
        return n


for kind in ("none", "io", "memo", "mixed"):
    tree_case(kind, "", with_gather, False)
    tree_case(kind, "_tg", with_group, False)
    if sys.version_info >= (3, 12):
        tree_case(kind, "_eager", with_gather, True)
        tree_case(kind, "_eager_tg", with_group, True)
