"""Task: eager start, its factories, and what create_task() hands on."""
import asyncio
import contextvars
import gc

import pytest

from support import EAGER, PY, Errors, fresh_loop, outcome, plain, report, spin, yields

# asyncio 3.12.1 itself crashes when a task that finished eagerly is asked for its coroutine, as repr() does
EAGER_REPR_CRASHES = PY < (3, 12, 4)
eager = pytest.mark.skipif(not EAGER, reason="eager tasks came with 3.12")


@eager
def test_eager_start(aio, loop, run):
    seen = []

    async def quick():
        seen.append(aio.current_task().get_name())
        return "quick"

    async def slow():
        seen.append("slow")
        await aio.sleep(0)
        return "slow"

    async def main():
        me = aio.current_task()
        t = aio.Task(quick(), loop=loop, eager_start=True, name="q")
        assert t.done() and t.result() == "quick" and seen == ["q"] and aio.current_task() is me
        if not EAGER_REPR_CRASHES or aio is not asyncio:
            assert t.get_coro() is None and "coro=" not in repr(t)
        u = aio.Task(slow(), loop=loop, eager_start=True)
        assert not u.done() and seen == ["q", "slow"] and aio.current_task() is me and u in aio.all_tasks()
        assert await u == "slow" and u.get_coro() is not None
        assert t not in aio.all_tasks()
    run(main())


@eager
def test_eager_outside_a_running_loop(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []

            async def work():
                seen.append("ran")
            t = aio.Task(work(), loop=loop, eager_start=True)
            found = [list(seen), t.done()]
            spin(loop)
            return found + [seen, t.done()]
    same(scenario)


@eager
@pytest.mark.parametrize("what", ["returns", "raises", "cancels itself", "waits", "is cancelled", "interrupts", "raises cancelled", "bad yield",
                                  "awaits itself"])
def test_eager_outcomes(same, what):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            async def work():
                if what == "returns":
                    return 1
                if what == "raises":
                    raise ValueError("x")
                if what == "cancels itself":
                    aio.current_task().cancel("own")
                    await aio.sleep(0)
                if what == "interrupts":
                    raise KeyboardInterrupt("k")
                if what == "raises cancelled":
                    raise asyncio.CancelledError("c")
                if what == "bad yield":
                    await yields(5)
                if what == "awaits itself":
                    await aio.current_task()
                await loop.create_future()

            async def main():
                found = []
                try:
                    t = aio.Task(work(), loop=loop, eager_start=True, name="eager")
                except BaseException as e:
                    return ["constructor", plain(e)]
                eager_end = t.done()
                found.append([eager_end, t in aio.all_tasks()])
                if not (eager_end and EAGER_REPR_CRASHES):
                    found.append(repr(t))
                t.add_done_callback(lambda t: found.append("called back"))
                if what in ("is cancelled", "waits"):
                    found.append(t.cancel("m"))
                for _ in range(3):
                    await aio.sleep(0)
                return found + [t._state, outcome(t.result), t.cancelling()] + (
                    [] if eager_end and EAGER_REPR_CRASHES else [repr(t)])
            found = plain([outcome(loop.run_until_complete, main())])
            gc.collect()
            return found + [report(c) for c in errors.take()]
    same(scenario)


@eager
def test_eager_context(aio, loop, run):
    var = contextvars.ContextVar("var", default=0)

    async def work():
        var.set(var.get() + 1)
        return var.get()

    async def main():
        var.set(5)
        assert aio.Task(work(), loop=loop, eager_start=True).result() == 6 and var.get() == 5
        context = contextvars.Context()
        assert aio.Task(work(), loop=loop, eager_start=True, context=context).result() == 1 and context[var] == 1
    run(main())


@eager
def test_eager_task_factory(aio, loop, run):
    loop.set_task_factory(aio.eager_task_factory)
    assert loop.get_task_factory() is aio.eager_task_factory
    order = []

    async def work(n):
        order.append(n)
        return n

    async def main():
        order.append("main")
        t = aio.create_task(work(1), name="given")
        assert t.done() and order == ["main", 1] and isinstance(t, aio.Future)
        assert t.get_name() == "given"
        assert await aio.gather(work(2), work(3)) == [2, 3]
        async with aio.TaskGroup() as g:
            g.create_task(work(4))
        assert order == ["main", 1, 2, 3, 4]
    run(main())


@eager
def test_create_eager_task_factory(aio, loop, run):
    class T(aio.Task):
        made = 0

        def __init__(self, *args, **kwargs):
            T.made += 1
            super().__init__(*args, **kwargs)
    loop.set_task_factory(aio.create_eager_task_factory(T))

    async def work():
        return type(aio.current_task())

    async def main():
        return await aio.create_task(work())
    assert run(main()) is T and T.made == 2


@eager
def test_nested_eager_tasks(aio, loop, run):
    """Each sees itself as the current task, and its parent again afterwards."""
    async def nest(depth):
        me = aio.current_task()
        assert me in aio.all_tasks()
        if depth:
            t = aio.Task(nest(depth - 1), loop=loop, eager_start=True)
            assert aio.current_task() is me
            if depth % 2:
                await aio.sleep(0)
            assert aio.current_task() is me
            return 1 + await t
        await aio.sleep(0)
        return 0
    assert run(nest(20)) == 20


@eager
def test_eager_from_a_callback(aio, loop):
    """No task is current in a callback: an eager task started there leaves it so."""
    seen = []

    async def work():
        seen.append(aio.current_task() is not None)
        await aio.sleep(0)
        seen.append(aio.current_task() is not None)

    def callback():
        seen.append(aio.current_task())
        seen.append(aio.Task(work(), loop=loop, eager_start=True))
        seen.append(aio.current_task())
    loop.call_soon(callback)
    spin(loop, 3)
    t = seen[2]
    assert isinstance(t, aio.Task) and seen == [None, True, t, None, True] and t.done()


def test_create_task_keywords(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            def make(**kwargs):
                c = asyncio.sleep(0)
                try:
                    t = loop.create_task(c, **kwargs)
                    spin(loop, 2)
                    return [t.done()]
                finally:
                    c.close()
            found = [outcome(make, name="x"), outcome(make, context=contextvars.Context()), outcome(make, nonsense=1, text=False)]
            if EAGER:
                found.append(outcome(make, eager_start=True, text=False))

            seen = []

            def factory(loop, coro, **kwargs):
                seen.append(sorted(kwargs))
                return aio.Task(coro, loop=loop)
            loop.set_task_factory(factory)
            found += [outcome(make), outcome(make, name="n"), outcome(make, context=contextvars.Context()),
                      outcome(make, name="n", context=None), outcome(make, whatever=1, text=False)]
            return found + seen
    same(scenario)
