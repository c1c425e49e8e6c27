"""Task: steps and wake-ups, results, what a coroutine may and may not yield, what happens from inside a step."""
import asyncio
import gc

import pytest

from support import NESTED_RUN_FOREVER_BREAKS, Errors, bare_yield, fresh_loop, outcome, plain, report, scrub, spin, yields


# --- stepping ----------------------------------------------------------------------------------------------------------

def test_tasks_interleave_in_order(aio, loop, run):
    seen = []

    async def worker(name):
        for i in range(3):
            seen.append(name + str(i))
            await aio.sleep(0)

    async def main():
        await aio.gather(*(worker(n) for n in "abc"))
    run(main())
    assert seen == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_one_step_per_tick(aio, loop):
    seen = []

    async def work():
        for i in range(3):
            seen.append(i)
            await bare_yield()
    t = loop.create_task(work())
    assert seen == []
    for n in range(1, 4):
        spin(loop)
        assert seen == list(range(n)) and not t.done()
    spin(loop)
    assert t.done()


def test_a_future_wakes_its_task_in_the_next_tick(aio, loop):
    f, seen = loop.create_future(), []

    async def work():
        seen.append(await f)
    t = loop.create_task(work())
    spin(loop)
    assert t._fut_waiter is f and f._asyncio_future_blocking is False
    f.set_result("x")
    assert seen == [] and t._fut_waiter is f
    spin(loop)
    assert seen == ["x"] and t.done() and t._fut_waiter is None


def test_done_future_does_not_yield(aio, loop):
    f = loop.create_future()
    f.set_result(1)

    async def work():
        return [await f for _ in range(1000)]
    t = loop.create_task(work())
    spin(loop)
    assert t.result() == [1] * 1000


def test_deep_chain_of_coroutines(aio, loop, run):
    async def deep(n):
        return n if n == 0 else 1 + await deep(n - 1)
    assert run(deep(200)) == 200


def test_long_chain_of_tasks(aio, loop, run):
    async def follow(t):
        return 1 + (await t if t is not None else 0)

    async def main():
        t = None
        for _ in range(2000):
            t = aio.create_task(follow(t))
        return await t
    assert run(main()) == 2000


@pytest.mark.parametrize("value", [None, 0, "x", (), (1, 2), ValueError("value"), StopIteration(1), StopIteration])
def test_return_values(aio, loop, run, value):
    async def work(wait):
        if wait:
            await aio.sleep(0)
        return value
    assert run(work(False)) is value and run(work(True)) is value

    async def through_task():
        return await aio.create_task(work(True))
    assert run(through_task()) is value


def test_exceptions_come_out(aio, loop, run):
    exc = ValueError("x")

    async def work():
        await aio.sleep(0)
        raise exc

    async def main():
        t = aio.create_task(work())
        with pytest.raises(ValueError) as info:
            await t
        assert info.value is exc and t.exception() is exc and t._exception is exc
        return t
    t = run(main())
    assert not t.cancelled() and t._state == "FINISHED"


def test_stop_iteration_in_a_coroutine(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def work():
                raise StopIteration(5)

            async def stop_async():
                raise StopAsyncIteration(5)

            async def awaits_failed():
                f = loop.create_future()
                outcome(f.set_exception, StopIteration)
                if f.done():
                    await f
            return [outcome(loop.run_until_complete, c()) for c in (work, stop_async, awaits_failed)]
    same(scenario)


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("exc", [KeyboardInterrupt("k"), SystemExit(3), Interrupt("b"), GeneratorExit("g")])
def test_base_exceptions(same, exc):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def work():
                await aio.sleep(0)
                raise exc
            found = [outcome(loop.run_until_complete, work())]
            t = loop.create_task(work())
            found.append(outcome(spin, loop, 3))
            found += [t.done(), t.cancelled(), outcome(t.exception)]
            spin(loop, 2)
            return found + [loop.is_running()]
    same(scenario)
    exc.__traceback__ = exc.__context__ = None


def test_interrupt_leaves_the_rest_of_the_tick_for_later(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []

            async def broken():
                raise KeyboardInterrupt("now")

            async def other(name):
                seen.append(name)
                await aio.sleep(0)
                seen.append(name)
            ts = [loop.create_task(other("a")), loop.create_task(broken()), loop.create_task(other("b"))]
            loop.call_soon(seen.append, "handle")
            found = outcome(spin, loop)
            first = list(seen)
            spin(loop, 3)
            ts[1].exception()
            return [found, first, seen]
    same(scenario)


# --- bad yields --------------------------------------------------------------------------------------------------------

def plain_generator():
    yield


@pytest.mark.parametrize("what", ["int", "text", "object", "list", "generator", "future", "done future", "other loop", "other loop blocking",
                                  "itself", "itself blocking", "coroutine", "class", "blocking not a bool", "raises in blocking", "truth raises"])
def test_bad_yields(same, what):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop, fresh_loop(aio) as other:
            box = {}

            async def work():
                t = aio.current_task()
                if what == "int":
                    value = 5
                elif what == "text":
                    value = "text"
                elif what == "object":
                    value = ...
                elif what == "list":
                    value = []
                elif what == "generator":
                    value = plain_generator()
                elif what in ("future", "done future"):
                    value = loop.create_future()
                    if what == "done future":
                        value.set_result(1)
                elif what.startswith("other loop"):
                    value = other.create_future()
                    value._asyncio_future_blocking = what.endswith("blocking")
                elif what.startswith("itself"):
                    value = t
                    if what.endswith("blocking"):
                        return await t
                elif what == "coroutine":
                    value = box["coroutine"] = asyncio.sleep(0)
                elif what == "class":
                    value = aio.Future
                elif what == "blocking not a bool":
                    value = type("B", (), {"_asyncio_future_blocking": 5, "__repr__": lambda s: "B"})()
                elif what == "truth raises":
                    evil = type("Evil", (), {"__bool__": lambda s: 1 / 0})()
                    value = type("B", (), {"_asyncio_future_blocking": evil, "get_loop": lambda s: loop, "__repr__": lambda s: "B"})()
                else:
                    value = type("B", (), {"_asyncio_future_blocking": property(lambda s: 1 / 0), "__repr__": lambda s: "B"})()
                try:
                    return await yields(value)
                finally:
                    box["after"] = True
            t = loop.create_task(work(), name="the task")
            spin(loop, 4)
            if "coroutine" in box:
                box["coroutine"].close()
            found = [t.done(), outcome(t.exception) if t.done() else repr(t), box.get("after")]
            found += [report(c) for c in errors.take()]
            if not t.done():
                t._log_destroy_pending = False
                t.get_coro().close()
                del t
                gc.collect()
            return plain(found)
    same(scenario)


def test_texts_of_bad_yields(aio, loop):
    """The words, once, without comparing: <...> stands for the reprs."""
    def what_happens(value):
        async def work():
            await yields(value)
        t = loop.create_task(work())
        spin(loop, 3)
        return str(t.exception())
    f = loop.create_future()
    assert what_happens(5) == "Task got bad yield: 5"
    assert what_happens(f).startswith("yield was used instead of yield from in task <Task ") and what_happens(f).endswith(
        " with <Future pending>")
    assert what_happens(plain_generator()).startswith("yield was used instead of yield from for generator in task <Task ")

    async def own():
        await aio.current_task()
    t = loop.create_task(own())
    spin(loop, 3)
    assert str(t.exception()).startswith("Task cannot await on itself: <Task pending name=")

    async def foreign():
        await other.create_future()
    other = aio.new_event_loop()
    t = loop.create_task(foreign())
    spin(loop, 3)
    other.close()
    assert str(t.exception()).startswith("Task <Task pending name=") and str(t.exception()).endswith("attached to a different loop")


def test_a_bad_yield_can_be_survived(aio, loop, run):
    async def work():
        try:
            await yields(5)
        except RuntimeError as e:
            await aio.sleep(0)
            return str(e)
    assert run(work()) == "Task got bad yield: 5"


def test_bare_yield_and_none(aio, loop, run):
    async def work():
        return [await yields(None), await bare_yield()]
    assert run(work()) == [None, None]


def test_raising_on_a_future_with_callbacks_of_its_own(aio, loop, run):
    """Awaiting the same future from several tasks and twice from one."""
    f = loop.create_future()

    async def work():
        return await f, await f

    async def main():
        ts = [aio.create_task(work()) for _ in range(3)]
        await aio.sleep(0)
        assert len(f._callbacks) == 3
        f.set_result("r")
        return await aio.gather(*ts)
    assert run(main()) == [("r", "r")] * 3


# --- re-entrancy -------------------------------------------------------------------------------------------------------

def test_a_wakeup_after_the_task_is_done(same):
    """Callbacks kept from a future's list and called late."""
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            f = loop.create_future()

            async def work():
                await f
            t = loop.create_task(work())
            spin(loop)
            (wakeup, _), = f._callbacks
            f.set_result(1)
            spin(loop)
            found = [t.done(), outcome(wakeup, f, text=False)]
            return found
    same(scenario)


def test_the_wakeup_object(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()

            async def work():
                await f
            t = loop.create_task(work())
            spin(loop)
            (wakeup, _), = f._callbacks
            found = [callable(wakeup), wakeup == f._callbacks[0][0], wakeup.__self__ is t if hasattr(wakeup, "__self__") else None,
                     outcome(wakeup, text=False), outcome(wakeup, 1, 2, text=False), scrub(repr(f))]
            t.cancel()
            spin(loop, 2)
            return found
    same(scenario)


def test_result_or_future_raising_in_the_wakeup(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            class F(aio.Future):
                def result(self):
                    raise KeyError("from result()")
            f = F(loop=loop)

            async def work():
                return await f
            t = loop.create_task(work())
            spin(loop)
            f.set_result(1)
            spin(loop, 2)
            return [outcome(t.exception)]
    same(scenario)


def test_stepping_the_loop_from_inside_a_task(same):
    def scenario(aio):
        with fresh_loop(aio) as loop, fresh_loop(aio) as other:
            async def work():
                c = asyncio.sleep(0)
                found = [outcome(loop.run_until_complete, c), outcome(other.run_until_complete, c), outcome(loop.close)]
                if not NESTED_RUN_FOREVER_BREAKS:
                    found += [outcome(loop.run_forever), outcome(other.run_forever)]
                c.close()
                return found
            return loop.run_until_complete(work())
    same(scenario)


def test_dropping_the_last_reference_inside_the_step(aio, loop):
    done = []

    async def work():
        holder.clear()
        gc.collect()
        await aio.sleep(0)
        done.append(1)
    holder = [loop.create_task(work())]
    spin(loop, 3)
    assert done == [1]


def test_finalizers_that_use_the_task(aio, loop):
    class D:
        def __del__(self):
            t = aio.current_task(loop)
            seen.append(t is not None)
            loop.call_soon(seen.append, "later")
    seen = []

    async def work():
        d = D()
        d.me = d
        del d
        gc.collect()
        return D()
    t = loop.create_task(work())
    spin(loop)
    del t
    spin(loop)
    spin(loop)
    assert sorted(seen, key=str) == [False, True, "later", "later"] and seen[0] is True
