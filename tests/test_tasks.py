"""Task: stepping and waking, bad yields, cancellation, names, contexts, eager start, reports, odd coroutines, subclasses."""
import asyncio
import collections.abc
import contextvars
import gc
import inspect
import io
import sys
import types
import weakref

import pytest

from support import NESTED_RUN_FOREVER_BREAKS, PY, PYTASK_IS_SEEN, Errors, FakeLoop, fresh_loop, outcome, plain, report, scrub, spin, spin_until, tb_lines

EAGER = hasattr(asyncio, "eager_task_factory")


async def forever(loop):
    await loop.create_future()


@types.coroutine
def bare_yield():
    yield


@types.coroutine
def yields(value):
    return (yield value)


# --- construction ------------------------------------------------------------------------------------------------------

def test_a_new_task(aio, loop, run):
    async def work():
        return 3
    c = work()
    t = aio.Task(c, loop=loop)
    assert type(t) is aio.Task and isinstance(t, asyncio.Task) and isinstance(t, aio.Future) and isinstance(t, asyncio.Future)
    assert aio.isfuture(t) and asyncio.isfuture(t)
    assert t._state == "PENDING" and t._must_cancel is False and t._fut_waiter is None and t._coro is c is t.get_coro()
    assert t._log_destroy_pending is True and t.cancelling() == 0 and t.get_loop() is loop and t._callbacks is None
    assert run(t) == 3 and t.result() == 3 and t.done() and t.exception() is None


def test_create_task_is_of_the_loops_kind(aio, loop, run):
    t = loop.create_task(forever(loop))
    assert type(t) is aio.Task

    async def main():
        t = aio.create_task(asyncio.sleep(0))
        assert type(t) is aio.Task
        await t
        assert type(aio.ensure_future(asyncio.sleep(0))) is aio.Task
    run(main())
    t.cancel()
    spin(loop, 2)


def test_every_attribute_of_asyncios_task_is_there(aio):
    assert set(dir(asyncio.Task)) <= set(dir(aio.Task))


@pytest.mark.parametrize("bad", [5, None, "text", lambda: None, object(), asyncio.sleep, iter([])])
def test_what_is_not_a_coroutine(same, bad):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [outcome(aio.Task, bad, loop=loop), outcome(loop.create_task, bad)]
    same(scenario)


def test_generators_and_asyncgens_are_not_coroutines(same):
    def gen():
        yield

    async def agen():
        yield

    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [outcome(aio.Task, gen(), loop=loop), outcome(aio.Task, agen(), loop=loop),
                    outcome(aio.Task, loop.create_future(), loop=loop)]
    same(scenario)


def test_constructor_arguments(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            def make(*args, **kwargs):
                c = forever(loop)
                try:
                    t = aio.Task(*([c] if args is None else [c, *args]), **kwargs)
                    t.cancel()
                    spin(loop, 2)
                    return [t.get_name() if "Task-" not in t.get_name() else "Task-N"]
                finally:
                    c.close()
            found = [outcome(make, loop=loop), outcome(make, loop=loop, name="n"), outcome(make, loop=loop, name=5),
                     outcome(make, loop=loop, name=None), outcome(make, loop=loop, name=("t",)),
                     outcome(make, loop=loop, context=None), outcome(make, loop=loop, context=contextvars.Context()),
                     outcome(make, loop, text=False), outcome(make, loop=loop, other=1, text=False),
                     outcome(make, loop=5), outcome(aio.Task, text=False)]

            class NoStr:
                def __str__(self):
                    raise ZeroDivisionError("name")
            found.append(outcome(make, loop=loop, name=NoStr()))
            gc.collect()
            return found + [[sorted(c), c["message"]] for c in errors.take()]
    same(scenario)


def test_no_running_loop(same):
    def scenario(aio):
        c = asyncio.sleep(0)
        try:
            return [outcome(aio.create_task, c)]
        finally:
            c.close()
    same(scenario)


def test_uninitialised(same):
    def scenario(aio):
        found = {}
        for name in ("cancel", "cancelled", "done", "result", "exception", "cancelling", "uncancel", "get_loop"):
            t = aio.Task.__new__(aio.Task)
            t._log_destroy_pending = False
            found[name] = outcome(getattr(t, name))
        return found
    same(scenario)


def test_uninitialised_where_asyncio_crashes(aio):
    """get_name() and get_coro() of a task without __init__ are a segmentation fault in some versions of asyncio's."""
    if aio is asyncio:
        return
    for name in ("get_name", "get_coro", "get_context", "get_stack", "print_stack", "__repr__", "__await__"):
        t = aio.Task.__new__(aio.Task)
        t._log_destroy_pending = False
        if hasattr(t, name):
            assert outcome(getattr(t, name))[0] in ("returned", "raised")


def test_set_result_and_set_exception_are_refused(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t = loop.create_task(forever(loop))
            found = [outcome(t.set_result, 1), outcome(t.set_exception, ValueError()), outcome(t.set_result, text=False)]
            t.cancel()
            spin(loop, 2)
            return found
    assert same(scenario)[:2] == [["raised", "RuntimeError", "Task does not support set_result operation"],
                                  ["raised", "RuntimeError", "Task does not support set_exception operation"]]


def test_attribute_assignment_follows_asyncio(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = {}
            for name in ("_must_cancel", "_coro", "_fut_waiter", "_log_destroy_pending", "_state", "_callbacks", "_loop",
                         "_exception", "_result", "_source_traceback", "_cancel_message", "_log_traceback", "_num_cancels_requested"):
                for value in (None, True, False, 0, "text"):
                    t = loop.create_task(forever(loop))
                    spin(loop)
                    # a native task inherits the attributes that asyncio's Task declares again
                    how = [str(x).replace("'Future' objects", "'Task' objects") for x in outcome(setattr, t, name, value)]
                    found[name, repr(value)] = [how]
                    if name == "_must_cancel":
                        found[name, repr(value)].append(t._must_cancel)
                    t._log_destroy_pending = False
                    t.cancel()
                    spin(loop, 2)
                    assert t.done()
            return found
    same(scenario)


def test_coro_is_not_writable(aio, loop):
    """greenback looks for these words."""
    t = loop.create_task(forever(loop))
    with pytest.raises(AttributeError, match="is not writable"):
        t._coro = None
    t.cancel()
    spin(loop, 2)


# --- names -------------------------------------------------------------------------------------------------------------

def test_default_names_count(aio, loop, run):
    async def none():
        pass
    tasks = [loop.create_task(none()) for _ in range(3)]
    numbers = [int(t.get_name().removeprefix("Task-")) for t in tasks]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    run(aio.wait(tasks))


@pytest.mark.skipif(PY < (3, 12), reason="3.11 numbers a task at once")
def test_default_names_are_given_when_asked_for(same):
    """The number is drawn at creation or at the first question, as the running asyncio does."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = loop.create_task(bare()), loop.create_task(bare())
            nb, na = b.get_name(), a.get_name()
            spin(loop, 2)
            return int(na[5:]) - int(nb[5:])
    async def bare():
        pass
    same(scenario)


def test_both_modules_count_together(aio, loop, run):
    """Two tasks never have the same default name, whichever module made them."""
    async def none():
        pass
    tasks = [cls(none(), loop=loop) for cls in (aio.Task, asyncio.Task, asyncio.tasks._PyTask, aio.Task, asyncio.Task)]
    names = [t.get_name() for t in tasks]
    run(aio.wait(tasks))
    assert len(set(names)) == len(names)


def test_set_name(aio, loop, run):
    async def main():
        t = aio.current_task()
        t.set_name("renamed")
        assert t.get_name() == "renamed" and "name='renamed'" in repr(t)
        t.set_name(5)
        assert t.get_name() == "5"
        with pytest.raises(ZeroDivisionError):
            t.set_name(type("N", (), {"__str__": lambda s: 1 / 0})())
        assert t.get_name() == "5"
        child = aio.create_task(asyncio.sleep(0), name="child")
        assert child.get_name() == "child"
        await child
    run(main())


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


# --- cancellation ------------------------------------------------------------------------------------------------------

def test_cancel_before_the_first_step(aio, loop):
    ran = []

    async def work():
        ran.append(1)
    t = loop.create_task(work())
    assert t.cancel() is True and t._must_cancel and t.cancelling() == 1 and not t.cancelled() and not t.done()
    spin(loop)
    assert t.cancelled() and t.done() and not ran and not t._must_cancel
    assert t.cancel() is False and t.cancelling() == 1


def test_cancel_while_waiting(aio, loop):
    f = loop.create_future()

    async def work():
        await f
    t = loop.create_task(work())
    spin(loop)
    assert t.cancel("msg") is True and f.cancelled() and not t._must_cancel and t._fut_waiter is f
    assert not t.done()
    spin(loop)
    assert t.cancelled()
    with pytest.raises(aio.CancelledError) as info:
        t.result()
    assert info.value.args == ("msg",)


def test_cancel_of_a_chain(aio, loop):
    f = loop.create_future()

    async def inner():
        await f

    async def outer(t):
        await t
    i = loop.create_task(inner())
    o = loop.create_task(outer(i))
    spin(loop, 2)
    assert o.cancel() and f.cancelled() and i.cancelling() == 1 and o.cancelling() == 1
    spin(loop)
    assert i.cancelled() and not o.cancelled()
    spin(loop)
    assert o.cancelled()


def test_cancel_between_wakeup_and_step(same):
    """The future is done, the wakeup is queued: too late to cancel the future, the task is told at its step."""
    def scenario(aio, how):
        with fresh_loop(aio) as loop:
            f, seen = loop.create_future(), []

            async def work():
                try:
                    seen.append(["got", await f])
                except BaseException as e:
                    seen.append(plain(e))
                    raise
                await aio.sleep(0)
                seen.append("after")
            t = loop.create_task(work())
            spin(loop)
            if how == "result":
                f.set_result(1)
            elif how == "exception":
                f.set_exception(ValueError("x"))
            else:
                f.cancel("first")
            seen.append([t.cancel("late"), t._must_cancel, f.cancelled()])
            spin(loop, 3)
            return seen + [t._state, outcome(t.result), f.exception() and None if how == "exception" else None]
    for how in ("result", "exception", "cancel"):
        same(scenario, how)


def test_cancel_from_within(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []

            async def at_await():
                aio.current_task().cancel("own")
                seen.append(aio.current_task()._must_cancel)
                await loop.create_future()

            async def at_bare_yield():
                aio.current_task().cancel("own")
                await aio.sleep(0)

            async def at_return():
                aio.current_task().cancel("own")
                return 1

            async def at_raise():
                aio.current_task().cancel("own")
                raise ValueError("v")

            async def at_done_future():
                f = loop.create_future()
                f.set_result(1)
                aio.current_task().cancel("own")
                seen.append(await f)
                await aio.sleep(0)

            async def at_bad_yield():
                aio.current_task().cancel("own")
                await yields(5)

            async def uncancelled():
                t = aio.current_task()
                t.cancel("own")
                seen.append([t.cancelling(), t.uncancel(), t._must_cancel])
                await aio.sleep(0)
                return "survived"

            async def raises_cancelled():
                raise asyncio.CancelledError("raised")
            for c in (at_await, at_bare_yield, at_return, at_raise, at_done_future, at_bad_yield, uncancelled, raises_cancelled):
                t = loop.create_task(c())
                spin(loop, 4)
                seen.append([c.__name__, t._state, outcome(t.exception), outcome(t.result), t.cancelling(), t._must_cancel])
            return seen
    same(scenario)


def test_cancel_suppressed_and_again(aio, loop):
    seen = []

    async def stubborn():
        for i in range(3):
            try:
                await loop.create_future()
            except aio.CancelledError as e:
                seen.append(e.args)
        return "done"
    t = loop.create_task(stubborn())
    for i in range(3):
        spin(loop)
        assert t.cancel(i) and t.cancelling() == i + 1
    spin(loop)
    assert t.result() == "done" and seen == [(0,), (1,), (2,)] and not t.cancelled() and t.cancelling() == 3


def test_cancelled_twice_before_it_runs(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t = loop.create_task(forever(loop))
            t.cancel("one")
            t.cancel("two")
            spin(loop)
            u = loop.create_task(forever(loop))
            spin(loop)
            u.cancel("one")
            u.cancel("two")
            spin(loop, 2)
            return [outcome(t.result), t.cancelling(), outcome(u.result), u.cancelling()]
    same(scenario)


def test_uncancel(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t = loop.create_task(forever(loop))
            spin(loop)
            found = [t.cancelling(), t.uncancel(), t.cancelling()]
            t.cancel()
            t.cancel()
            found += [t.cancelling(), t.uncancel(), t.uncancel(), t.uncancel(), t.cancelling(), t._must_cancel]
            spin(loop, 3)
            return found + [t._state, t.cancelling(), t.uncancel()]
    same(scenario)


def test_uncancel_and_must_cancel(same):
    """From 3.13 on the last uncancel() takes a cancellation back that was not yet delivered."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t = loop.create_task(asyncio.sleep(0, "slept"))
            t.cancel()
            t.cancel()
            found = [t._must_cancel, t.uncancel(), t._must_cancel, t.uncancel(), t._must_cancel]
            spin(loop, 3)
            return found + [t._state]
    same(scenario)


@pytest.mark.parametrize("args,kwargs", [((), {}), (("m",), {}), ((), {"msg": "m"}), ((None,), {}), ((5,), {}), (("a", "b"), {}),
                                         ((), {"reason": "r"})])
@pytest.mark.parametrize("stage", ["new", "waiting", "finished"])
def test_cancel_messages(same, args, kwargs, stage):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()

            async def work():
                try:
                    await f
                except aio.CancelledError as e:
                    seen.append(plain(e.args))
                    raise
            seen = []
            t = loop.create_task(work())
            if stage != "new":
                spin(loop)
            if stage == "finished":
                f.set_result(1)
                spin(loop)
            seen.append(outcome(t.cancel, *args, text=False, **kwargs))
            if not t.done() and not t._must_cancel and not f.done():
                t.cancel("to end it")
            spin(loop, 2)
            try:
                t.result()
            except BaseException as e:
                seen.append([type(e).__name__, plain(e.args)])
            return seen
    same(scenario)


def test_the_cancelled_error_of_the_task_is_the_one_raised_in_it(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def inner():
                await loop.create_future()

            async def outer():
                t = aio.create_task(inner())
                await aio.sleep(0)
                t.cancel("why")
                try:
                    await t
                except aio.CancelledError as e:
                    first = [plain(e), plain(e.__context__), tb_lines(e)]
                try:
                    await t
                except aio.CancelledError as e:
                    second = [plain(e), plain(e.__context__), tb_lines(e)]
                return [first, second]
            return loop.run_until_complete(outer())
    same(scenario)


def test_cancel_replaced_by_an_exception(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def work():
                try:
                    await loop.create_future()
                finally:
                    raise ValueError("instead")
            t = loop.create_task(work())
            spin(loop)
            t.cancel("m")
            spin(loop, 2)
            e = t.exception()
            return [plain(e), plain(e.__context__), t.cancelled()]
    same(scenario)


def test_callbacks_of_a_cancelled_task(aio, loop):
    seen = []
    t = loop.create_task(forever(loop))
    t.add_done_callback(seen.append)
    spin(loop)
    t.cancel()
    spin(loop)
    assert t.cancelled() and seen == []
    spin(loop)
    assert seen == [t]


def test_cancel_while_the_future_cannot_be_cancelled(same):
    """A waiter whose cancel() answers False (shielded, or overridden)."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            class F(aio.Future):
                def cancel(self, msg=None):
                    calls.append(msg)
                    return False
            calls = []
            f = F(loop=loop)

            async def work():
                return await f
            t = loop.create_task(work())
            spin(loop)
            found = [t.cancel("m"), t._must_cancel]
            spin(loop, 2)
            found.append(t.done())
            f.set_result(1)
            spin(loop, 2)
            return found + [t._state, outcome(t.result), calls]
    same(scenario)


# --- repr and stacks ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("debug", [False, True])
def test_repr_at_every_stage(same, debug):
    def scenario(aio):
        with fresh_loop(aio, debug=debug) as loop:
            found = []

            async def work(f):
                found.append(repr(aio.current_task()))
                return await f

            def callback(t):
                pass
            for end in ("result", "exception", "cancel", "must cancel"):
                f = aio.Future(loop=loop)
                t = loop.create_task(work(f), name="named")
                t.add_done_callback(callback)
                found.append(repr(t))
                if end == "must cancel":
                    t.cancel()
                    found.append(repr(t))
                spin(loop)
                found.append(repr(t))
                if end == "result":
                    f.set_result("r" * 200)
                elif end == "exception":
                    f.set_exception(ValueError("x"))
                elif end == "cancel":
                    t.cancel()
                    found.append(repr(t))
                found.append(repr(t))
                spin(loop)
                found.append(repr(t))
                outcome(t.exception)
            return plain(found)
    for line in same(scenario):
        assert line.startswith("<Task ")


def test_repr_of_a_subclass_and_recursion(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            class T(aio.Task):
                pass

            async def work():
                return t
            t = T(work(), loop=loop, name="n")
            spin(loop)
            return scrub(repr(t))
    assert "T finished name='n'" in same(scenario)


def test_get_stack(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()

            async def inner():
                await f
                raise ValueError("x")

            async def work():
                await inner()

            def stack(limit=None):
                return [[fr.f_code.co_name, fr.f_lineno] for fr in t.get_stack(limit=limit)]
            t = loop.create_task(work())
            found = [stack()]
            spin(loop)
            found += [stack(), stack(0), stack(1), stack(5)]
            out = io.StringIO()
            found.append([outcome(t.print_stack, file=out), scrub(out.getvalue())])
            f.set_result(1)
            spin(loop)
            found += [stack(), stack(1)]
            out = io.StringIO()
            t.print_stack(file=out, limit=2)
            found.append(scrub(out.getvalue()))
            t.exception()
            t = loop.create_task(asyncio.sleep(0))
            spin(loop, 2)
            out = io.StringIO()
            t.print_stack(limit=None, file=out)
            return found + [stack(), scrub(out.getvalue()), outcome(t.get_stack, 1, text=False), outcome(t.print_stack, 1, text=False)]
    same(scenario)


def test_print_stack_without_a_file(aio, loop, capsys):
    async def work():
        pass
    t = loop.create_task(work(), name="shown")
    t.print_stack()
    spin(loop)
    assert capsys.readouterr().out.startswith("Stack for <Task pending name='shown'")


# --- contexts ----------------------------------------------------------------------------------------------------------

def test_context_is_copied_at_creation(aio, loop, run):
    var = contextvars.ContextVar("var", default=0)
    seen = []

    async def work():
        seen.append(var.get())
        var.set(var.get() + 10)
        await aio.sleep(0)
        seen.append(var.get())
    var.set(1)
    t = loop.create_task(work())
    var.set(2)
    run(t)
    assert seen == [1, 11] and var.get() == 2


def test_given_context(aio, loop, run):
    var = contextvars.ContextVar("var", default=0)
    context = contextvars.Context()

    async def work():
        var.set(var.get() + 1)
        await aio.sleep(0)
        return var.get()
    t = loop.create_task(work(), context=context)
    if hasattr(t, "get_context"):
        assert t.get_context() is context
    assert run(t) == 1 and run(aio.Task(work(), loop=loop, context=context)) == 2
    assert context[var] == 2 and var.get() == 0


def test_context_per_step(aio, loop, run):
    var = contextvars.ContextVar("var")

    async def work(n):
        var.set(n)
        for _ in range(5):
            await aio.sleep(0)
            assert var.get() == n

    async def main():
        await aio.gather(*(work(n) for n in range(10)))
    run(main())


def test_callbacks_get_the_context_of_their_adder(aio, loop, run):
    var = contextvars.ContextVar("var", default="none")
    seen = []

    async def work():
        var.set("task")
        t = aio.current_task()
        t.add_done_callback(lambda t: seen.append(var.get()))

    async def main():
        var.set("main")
        t = aio.create_task(work())
        t.add_done_callback(lambda t: seen.append(var.get()))
        await t
        await aio.sleep(0)
    run(main())
    assert seen == ["main", "task"]


def test_a_context_that_is_none(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            c = asyncio.sleep(0)
            found = [outcome(aio.Task, c, loop=loop, context=5, text=False)[0]]
            c.close()
            found.append(outcome(spin, loop, text=False))
            errors.take()
            gc.collect()
            errors.take()
            return found
    same(scenario)


def test_context_entered_twice(same):
    """A task whose context is being entered already: asyncio's error, the loop goes on."""
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            context = contextvars.copy_context()
            t = loop.create_task(asyncio.sleep(0), context=context)
            found = [outcome(context.run, spin, loop)]
            found += [report(c) for c in errors.take()]
            found.append(t._state)
            t._log_destroy_pending = False
            t.get_coro().close()
            del t
            gc.collect()
            return found
    same(scenario)


# --- eager start -------------------------------------------------------------------------------------------------------

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


# --- current_task and all_tasks ----------------------------------------------------------------------------------------

def kinds(aio):
    """Every kind of task that can meet another on one loop."""
    return {"native": aio.Task, "c": asyncio.tasks._CTask, "py": asyncio.tasks._PyTask}


def seen(tasks):
    """Those of the tasks that all_tasks() lists."""
    return {t for t in tasks if PYTASK_IS_SEEN or not isinstance(t, asyncio.tasks._PyTask)}


def everyone_says(aio, expected, loop=None):
    if not PYTASK_IS_SEEN and isinstance(expected, asyncio.tasks._PyTask):
        expected = None
    assert aio.current_task(loop) is expected
    assert asyncio.current_task(loop) is expected
    assert asyncio.tasks.current_task(loop) is expected


@pytest.mark.parametrize("loops", ["own", "stdlib"])
def test_current_task_and_all_tasks_agree(aio, loops):
    module = aio if loops == "own" else asyncio
    with fresh_loop(module) as loop:
        order = []

        async def work(kind):
            for _ in range(4):
                me = mine[kind]
                everyone_says(aio, me)
                everyone_says(aio, me, loop)
                assert aio.all_tasks() == asyncio.all_tasks() == aio.all_tasks(loop) >= seen({me})
                order.append(kind)
                await asyncio.sleep(0)
        mine = {}
        for kind, cls in kinds(aio).items():
            mine[kind] = cls(work(kind), loop=loop)
        loop.call_soon(lambda: everyone_says(aio, None))
        assert asyncio.all_tasks(loop) == seen(mine.values()) == aio.all_tasks(loop)
        spin(loop, 2)
        loop.call_soon(lambda: everyone_says(aio, None))
        loop.call_later(0, lambda: everyone_says(aio, None))
        spin_until(loop, lambda: all(t.done() for t in mine.values()))
        for t in mine.values():
            t.result()
        assert asyncio.all_tasks(loop) == set() == aio.all_tasks(loop)
        assert order == list(mine) * 4
        with pytest.raises(RuntimeError, match="no running event loop"):
            aio.current_task()
        everyone_says(aio, None, loop)


@pytest.mark.parametrize("inner", ["native", "c", "py"])
@pytest.mark.parametrize("outer", ["native", "c", "py"])
@pytest.mark.parametrize("loops", ["own", "stdlib"])
def test_tasks_await_tasks_of_every_kind(aio, outer, inner, loops):
    with fresh_loop(aio if loops == "own" else asyncio) as loop:
        f = loop.create_future()
        classes = kinds(aio)

        async def work():
            everyone_says(aio, ti)
            return await f

        async def wait():
            everyone_says(aio, to)
            r = await ti
            everyone_says(aio, to)
            return r + 1
        ti = classes[inner](work(), loop=loop)
        to = classes[outer](wait(), loop=loop)
        spin(loop, 2)
        assert to._fut_waiter is ti and ti._fut_waiter is f
        f.set_result(1)
        spin(loop, 3)
        assert to.result() == 2
        # and cancelled through
        f = loop.create_future()
        ti = classes[inner](work(), loop=loop)
        to = classes[outer](wait(), loop=loop)
        spin(loop, 2)
        to.cancel("through")
        assert f.cancelled()
        spin(loop, 3)
        assert ti.cancelled() and to.cancelled() and outcome(to.result)[1:] == ["CancelledError", "through"]


@pytest.mark.parametrize("kind", ["native", "c", "py"])
def test_the_order_of_mixed_tasks(aio, loop, kind):
    """Tasks of all kinds and handles share one queue."""
    seen, classes = [], kinds(aio)

    async def work(name):
        seen.append(name)
        await asyncio.sleep(0)
        seen.append(name)
    ts = []
    for i in range(3):
        ts.append(classes[kind](work(f"{kind}{i}"), loop=loop))
        loop.call_soon(seen.append, f"handle{i}")
        ts.append(aio.Task(work(f"own{i}"), loop=loop))
    spin(loop, 3)
    first = [x for i in range(3) for x in (f"{kind}{i}", f"handle{i}", f"own{i}")]
    assert seen == first + [x for x in first if not x.startswith("handle")]
    assert all(t.done() for t in ts)


def test_a_failing_step_leaves_no_current_task(aio, loop):
    async def work():
        raise KeyboardInterrupt
    t = loop.create_task(work())
    with pytest.raises(KeyboardInterrupt):
        spin(loop)
    everyone_says(aio, None, loop)
    t.exception()
    ran = []
    loop.call_soon(lambda: (everyone_says(aio, None), ran.append(1)))

    async def after(i):
        everyone_says(aio, ts[i])
        ran.append(2)
    classes = (asyncio.tasks._PyTask, asyncio.tasks._CTask, aio.Task)
    ts = [cls(after(i), loop=loop) for i, cls in enumerate(classes)]
    spin(loop, 2)
    assert ran == [1, 2, 2, 2]


def test_entering_and_leaving_by_hand(aio, loop):
    """What granian and nest_asyncio do with asyncio's registry works with native tasks."""
    asyncio._set_running_loop(loop)
    try:
        enter_and_leave(aio, loop)
    finally:
        asyncio._set_running_loop(None)


def enter_and_leave(aio, loop):
    enter, leave = asyncio.tasks._enter_task, asyncio.tasks._leave_task
    t, u = aio.Task(forever(loop), loop=loop), asyncio.Task(forever(loop), loop=loop)
    refused = ("Leaving task .* does not match the current task" if PY < (3, 14)
               else "Invalid attempt to leave task .* while task .* is entered")
    enter(loop, t)
    try:                                         # a task that stays entered keeps every later one from running
        everyone_says(aio, t, loop)
        with pytest.raises(RuntimeError, match="Cannot enter into task .* while another task .* is being executed"):
            enter(loop, u)
        with pytest.raises(RuntimeError, match=refused):
            leave(loop, u)
    finally:
        leave(loop, t)
    everyone_says(aio, None, loop)
    if hasattr(asyncio.tasks, "_swap_current_task"):
        assert asyncio.tasks._swap_current_task(loop, t) is None
        assert asyncio.tasks._swap_current_task(loop, None) is t
    asyncio._set_running_loop(None)
    t.cancel()
    u.cancel()
    spin(loop, 2)
    assert t.cancelled() and u.cancelled()


def test_a_step_while_another_task_is_current(same):
    """A native task stepped inside of a task that was entered by hand: asyncio refuses."""
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            t = loop.create_task(forever(loop))
            u = loop.create_task(forever(loop))
            asyncio._set_running_loop(loop)
            asyncio.tasks._enter_task(loop, u)
            asyncio._set_running_loop(None)
            found = [outcome(spin, loop)]
            asyncio._set_running_loop(loop)
            asyncio.tasks._leave_task(loop, u)
            asyncio._set_running_loop(None)
            found += [report(c) for c in errors.take()]
            states = [t._state, u._state]
            for x in (t, u):
                x._log_destroy_pending = False
                x.get_coro().close()
            del t, u, x
            gc.collect()
            return plain(found) + states
    same(scenario)


def test_all_tasks_holds_nobody_alive(aio, loop, errors):
    t = loop.create_task(forever(loop))
    spin(loop)
    assert aio.all_tasks(loop) == {t}
    ref = weakref.ref(t)
    t._log_destroy_pending = False
    del t
    gc.collect()
    assert ref() is None and aio.all_tasks(loop) == set() == asyncio.all_tasks(loop)


def test_all_tasks_of_two_loops(aio, loop):
    with fresh_loop(aio) as other:
        t, u = loop.create_task(forever(loop)), other.create_task(forever(other))
        assert aio.all_tasks(loop) == {t} and aio.all_tasks(other) == {u}
        t.cancel()
        u.cancel()
        spin(loop, 2)
        spin(other, 2)
        assert aio.all_tasks(loop) == set() == aio.all_tasks(other)


def test_finished_tasks_are_not_listed(aio, loop, run):
    async def main():
        t = aio.create_task(asyncio.sleep(0))
        assert t in aio.all_tasks() and t in asyncio.all_tasks()
        await t
        assert t not in aio.all_tasks() and t not in asyncio.all_tasks()
        assert aio.all_tasks() == {aio.current_task()}
    run(main())


def test_many_tasks_are_all_listed(aio, loop):
    tasks = {loop.create_task(forever(loop)) for _ in range(500)}
    assert aio.all_tasks(loop) == tasks == asyncio.all_tasks(loop)
    for t in tasks:
        t.cancel()
    spin(loop, 3)
    assert asyncio.all_tasks(loop) == set()


def test_registering_by_hand(aio, loop):
    """_register_task and _unregister_task accept native tasks, more than once too."""
    t = loop.create_task(forever(loop))
    asyncio.tasks._register_task(t)
    asyncio.tasks._register_task(t)
    assert asyncio.all_tasks(loop) == {t}
    asyncio.tasks._unregister_task(t)
    t.cancel()
    spin(loop, 2)
    assert t.cancelled() and asyncio.all_tasks(loop) == set()


# --- reports -----------------------------------------------------------------------------------------------------------

def test_destroyed_while_pending(aio, loop, errors):
    t = loop.create_task(forever(loop), name="lost")
    spin(loop)
    del t
    gc.collect()
    context = errors.take_one()
    assert sorted(context) == ["message", "task"] and context["message"] == "Task was destroyed but it is pending!"
    assert context["task"].get_name() == "lost" and isinstance(context["task"], aio.Task)
    context.clear()
    gc.collect()


def test_destroyed_while_pending_in_debug(aio, loop, errors):
    loop.set_debug(True)
    t = loop.create_task(forever(loop))
    line = inspect.currentframe().f_lineno - 1
    spin(loop)
    del t
    gc.collect()
    context = errors.take_one()
    assert sorted(context) == ["message", "source_traceback", "task"]
    assert context["source_traceback"][-1][:2] == (__file__, line)
    context.clear()
    gc.collect()


def test_log_destroy_pending(aio, loop, errors):
    t = loop.create_task(forever(loop))
    t._log_destroy_pending = False
    spin(loop)
    del t
    gc.collect()
    assert errors.contexts == []


def test_task_exception_never_retrieved(aio, loop, errors):
    async def work():
        raise ValueError("lost")
    t = loop.create_task(work())
    spin(loop)
    del t
    gc.collect()
    context = errors.take_one()
    assert sorted(context) == ["exception", "future", "message"]
    assert context["message"] == "Task exception was never retrieved" and str(context["exception"]) == "lost"
    context.clear()


def test_reports_run_in_the_tasks_context(same):
    """From 3.12 on the exception handler runs in the context of the task it reports."""
    var = contextvars.ContextVar("var", default="outside")

    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []
            loop.set_exception_handler(lambda loop, context: seen.append([context["message"], var.get()]))

            async def work():
                var.set("in the task")
                raise ValueError
            t = loop.create_task(work())
            spin(loop)
            del t
            gc.collect()

            async def waits():
                var.set("in the task")
                await loop.create_future()
            t = loop.create_task(waits())
            spin(loop)
            del t
            gc.collect()
            return seen
    same(scenario)


def test_never_awaited_coroutine_of_a_dropped_task(aio, errors):
    loop = aio.new_event_loop()
    loop.set_exception_handler(errors)
    t = loop.create_task(forever(loop))
    loop.close()
    with pytest.warns(RuntimeWarning, match="coroutine 'forever' was never awaited"):
        del t
        gc.collect()
        assert errors.take_one()["message"] == "Task was destroyed but it is pending!"
        gc.collect()


def test_source_traceback_starts_at_the_caller(aio, loop, run):
    loop.set_debug(True)

    async def none():
        pass

    async def main():
        made = [aio.create_task(none()), loop.create_task(none()), aio.ensure_future(none()), aio.Task(none(), loop=loop)]
        line = inspect.currentframe().f_lineno - 1
        await aio.wait(made)
        return [(t._source_traceback[-1].filename, t._source_traceback[-1].lineno) for t in made[:2] + made[3:]], line
    found, line = run(main())
    expected = (__file__, line)
    assert found[1] == expected and found[2] == expected
    assert found[0] == expected or found[0][0] == asyncio.tasks.__file__ or found[0][0].endswith("tasks.py")


# --- odd coroutines ----------------------------------------------------------------------------------------------------

class CoroutineLike(collections.abc.Coroutine):
    """What Cython makes: send, throw, close and __await__, no generator."""

    def __init__(self, *steps):
        self.steps, self.log = list(steps), []

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        self.log.append(["send", value])
        if not self.steps:
            raise StopIteration("returned")
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    def throw(self, typ, val=None, tb=None):
        exc = val if isinstance(val, BaseException) else typ if isinstance(typ, BaseException) else typ()
        self.log.append(["throw", plain(exc)])
        if self.steps and self.steps[0] == "swallow":
            self.steps.pop(0)
            return self.send(None)
        raise exc

    def close(self):
        self.log.append(["close"])


def test_a_class_with_send_and_throw(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []

            def blocking():
                f = loop.create_future()
                f._asyncio_future_blocking = True
                return f
            f = blocking()
            c = CoroutineLike(None, f)
            t = loop.create_task(c)
            spin(loop, 2)
            found.append([t._fut_waiter is f, t.get_coro() is c, scrub(repr(t)), t.get_stack()])
            f.set_result(1)
            spin(loop, 1)
            found.append([outcome(t.result), c.log])
            for steps, cancel in (([ValueError("x")], False), ([blocking()], True), ([blocking(), "swallow"], True), ([5, "swallow"], False)):
                c = CoroutineLike(*steps)
                t = loop.create_task(c)
                spin(loop)
                if cancel:
                    t.cancel("m")
                spin(loop, 3)
                found.append([t._state, outcome(t.result), c.log])
            return plain(found)
    same(scenario)


class OnlySend(collections.abc.Coroutine):
    def __await__(self):
        return self

    def send(self, value):
        raise StopIteration

    def throw(self, *args):
        raise args[0]

    def close(self):
        pass


@pytest.mark.parametrize("value", [(), (None,), (5,), ((1, 2),), ((),), ("a", "b")])
def test_stop_iteration_values(same, value):
    def scenario(aio):
        class C(OnlySend):
            def send(self, _):
                raise StopIteration(*value)
        with fresh_loop(aio) as loop:
            return [outcome(loop.run_until_complete, C())]
    same(scenario)


def test_send_that_raises_stop_iteration_class_or_subclass(same):
    def scenario(aio):
        class Mine(StopIteration):
            pass

        class A(OnlySend):
            def send(self, _):
                raise StopIteration

        class B(OnlySend):
            def send(self, _):
                raise Mine("mine")
        with fresh_loop(aio) as loop:
            return [outcome(loop.run_until_complete, A()), outcome(loop.run_until_complete, B())]
    same(scenario)


def test_coroutine_without_throw_or_with_broken_send(same):
    def scenario(aio):
        class NoSend(OnlySend):
            send = None

        class NoThrow(OnlySend):
            throw = None

            def send(self, _):
                return None
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            found = []
            for cls in (NoSend, NoThrow):
                t = loop.create_task(cls())
                spin(loop)
                if not t.done():
                    t.cancel()
                spin(loop, 2)
                found.append([t._state, outcome(t.result)])
            found += [report(c) for c in errors.take()]
            return found
    same(scenario)


def test_types_coroutine_generators(aio, loop, run):
    @types.coroutine
    def old(n):
        for _ in range(n):
            yield
        f = loop.create_future()
        loop.call_soon(f.set_result, n)
        return (yield from f)
    assert run(old(3)) == 3


def test_generator_based_coroutine_close_and_throw(aio, loop):
    log = []

    @types.coroutine
    def old():
        try:
            yield
            yield from loop.create_future()
        except BaseException as e:
            log.append(type(e).__name__)
            raise

    async def new():
        await old()
    t = loop.create_task(new())
    spin(loop, 2)
    t.cancel()
    spin(loop)
    assert log == ["CancelledError"] and t.cancelled()


def test_custom_awaitables(aio, loop, run):
    class A:
        def __await__(self):
            yield
            f = loop.create_future()
            loop.call_soon(f.set_result, 5)
            return (yield from f.__await__())

    class Nested:
        def __await__(self):
            return A().__await__()

    async def main():
        return [await A(), await Nested()]
    assert run(main()) == [5, 5]
    assert run(A()) == 5


def test_async_generators(aio, loop, run):
    async def gen():
        for i in range(3):
            await aio.sleep(0)
            yield i

    async def main():
        found = [i async for i in gen()]
        g = gen()
        found.append(await anext(g))
        found.append(await aio.create_task(anext_of(g)))
        await g.aclose()
        return found

    async def anext_of(g):
        return await anext(g)
    assert run(main()) == [0, 1, 2, 0, 1]


def test_coroutine_already_finished(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def none():
                pass
            c = none()
            loop.run_until_complete(c)
            found = [outcome(loop.run_until_complete, c)]
            return found
    same(scenario)


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


# --- classes and lifetime ----------------------------------------------------------------------------------------------

def test_class_getitem(aio):
    assert type(aio.Task[int]) is types.GenericAlias and aio.Task[int].__origin__ is aio.Task


def test_subclasses(aio, loop, run):
    class T(aio.Task):
        def __init__(self, coro, *, loop, extra=None, **kwargs):
            super().__init__(coro, loop=loop, **kwargs)
            self.extra = extra

    class S(aio.Task):
        __slots__ = ("a", "b")
    t = T(asyncio.sleep(0, "x"), loop=loop, extra=5, name="n")
    assert t.extra == 5 and t.get_name() == "n" and run(t) == "x"
    s = S(asyncio.sleep(0, "y"), loop=loop)
    s.a = s.c = s
    assert run(s) == "y" and s.a is s
    loop.set_task_factory(lambda loop, coro, **kw: T(coro, loop=loop, extra="factory", **kw))

    async def main():
        return aio.current_task().extra, [aio.create_task(asyncio.sleep(0)).extra]
    assert run(main()) == ("factory", ["factory"])
    spin(loop, 2)


@pytest.mark.parametrize("name", ["cancel", "result", "done", "get_name", "get_coro", "get_loop", "set_name", "add_done_callback", "cancelling",
                                  "uncancel", "cancelled", "exception", "__await__", "get_context", "remove_done_callback",
                                  "call_exception_handler"])
def test_overridden_methods(same, name):
    """Who calls which method of a task subclass."""
    if not hasattr(asyncio.Task, name):
        pytest.skip(f"this asyncio has no Task.{name}")

    def scenario(aio):
        with fresh_loop(aio) as loop:
            calls = []

            def method(self, *args, **kwargs):
                calls.append(name)
                return getattr(aio.Task, name)(self, *args, **kwargs)
            T = type("T", (aio.Task,), {name: method})
            f = loop.create_future()

            async def inner():
                return await f

            async def outer(t):
                return await t
            i = T(inner(), loop=loop, name="i")
            o = T(outer(i), loop=loop)
            calls.append("made")
            spin(loop, 2)
            repr(o)
            calls.append("repr")
            f.set_result(1)
            spin(loop, 3)
            calls.append("done")
            loop.run_until_complete(T(asyncio.sleep(0), loop=loop))
            calls.append("run")
            w = T(forever(loop), loop=loop)
            w2 = T(outer(w), loop=loop)
            spin(loop, 2)
            w2.cancel()
            spin(loop, 3)
            return calls + [w._state, w2._state]
    same(scenario)


def test_the_coroutine_is_released_at_the_end(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            class Token:
                pass
            token = Token()
            ref = weakref.ref(token)

            async def work(token):
                await aio.sleep(0)
            t = loop.create_task(work(token))
            del token
            spin(loop)
            alive = ref() is not None
            spin(loop)
            gc.collect()
            return [alive, t.done(), ref() is None]
    assert same(scenario) == [True, True, True]


@pytest.mark.parametrize("via", ["result", "exception", "coroutine", "callback", "context", "attribute", "waiter"])
def test_cycles_are_collected(aio, loop, errors, via):
    box = []

    async def work():
        if via == "exception":
            raise ValueError(box[0])
        if via in ("coroutine", "waiter"):
            me = box[0]
            if via == "waiter":
                f = loop.create_future()
                f.task = me
                await f
            await loop.create_future()
        return box[0]
    context = contextvars.Context()
    t = loop.create_task(work(), context=context)
    box.append(t)
    if via == "callback":
        t.add_done_callback(lambda _: t)
    if via == "context":
        context.run(contextvars.ContextVar("v").set, t)
    if via == "attribute":
        t.me = t
    t._log_destroy_pending = False
    spin(loop, 3)
    if t.done():
        t.exception()
    ref = weakref.ref(t)
    box.clear()
    del t, context
    gc.collect()
    assert ref() is None


def test_no_reference_is_lost_or_kept(aio, loop, run):
    value, exc, context = object(), ValueError(), contextvars.Context()

    async def returns():
        await aio.sleep(0)
        return value

    async def raises():
        await aio.sleep(0)
        raise exc

    async def waits():
        await loop.create_future()

    def once():
        run(returns())
        outcome(run, raises())
        exc.__traceback__ = None
        t = loop.create_task(waits(), name=value, context=context)
        spin(loop)
        t.cancel(value)
        spin(loop, 2)
        outcome(t.result)
    once()
    gc.collect()
    count = lambda: [sys.getrefcount(x) for x in (value, exc, context, loop)]
    before = count()
    for _ in range(30):
        once()
    gc.collect()
    assert count() == before


def test_exceptions_do_not_keep_the_task(aio, loop):
    """No cycle task -> exception -> traceback -> frame -> task from the machinery itself."""
    async def work():
        raise ValueError
    gc.collect()
    gc.disable()
    try:
        t = loop.create_task(work())
        spin(loop)
        assert isinstance(t.exception(), ValueError)
        ref = weakref.ref(t)
        del t
        assert ref() is None
    finally:
        gc.enable()


# --- foreign loops -----------------------------------------------------------------------------------------------------

def test_a_foreign_loop_drives_our_tasks(aio):
    """temporalio has a loop of its own, with little more than call_soon."""
    loop = FakeLoop()
    f, seen = aio.Future(loop=loop), []

    async def work():
        seen.append(asyncio.current_task(loop) is t)
        seen.append(await f)
        await bare_yield()
        seen.append(asyncio.current_task(loop) is t)
        return "end"
    t = aio.Task(work(), loop=loop)
    assert len(loop.queue) == 1 and t in asyncio.all_tasks(loop)
    loop.run_all()
    assert seen == [True] and t._fut_waiter is f and asyncio.current_task(loop) is None
    f.set_result("x")
    loop.run_all()
    assert seen == [True, "x", True] and t.result() == "end" and asyncio.current_task(loop) is None
    u = aio.Task(work(), loop=loop)
    u.cancel("m")
    loop.run_all()
    assert u.cancelled() and loop.reports == []


def test_a_foreign_loop_in_debug(aio):
    loop = FakeLoop(debug=True)

    async def work():
        return 1
    t = aio.Task(work(), loop=loop)
    assert t._source_traceback[-1].filename == __file__
    loop.run_all()
    assert t.result() == 1


# --- call graph (3.14) -------------------------------------------------------------------------------------------------

graph = pytest.mark.skipif(not hasattr(asyncio, "capture_call_graph"), reason="the call graph came with 3.14")


@graph
def test_call_graph(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []

            async def inner():
                await aio.sleep(0)
                g = aio.capture_call_graph()
                while g is not None:
                    found.append([scrub(type(g.future).__name__), [e.frame.f_code.co_name for e in g.call_stack],
                                  len(g.awaited_by)])
                    g = g.awaited_by[0] if g.awaited_by else None
                text = aio.format_call_graph()
                found.append([line.strip().split(" at ")[0] for line in scrub(text).splitlines()])

            async def outer():
                await aio.create_task(inner(), name="inner")
            loop.run_until_complete(loop.create_task(outer(), name="outer"))
            return plain(found)
    same(scenario)


@graph
def test_awaited_by(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()

            async def work():
                await f
            found = [f._asyncio_awaited_by]
            a, b = loop.create_task(work(), name="a"), loop.create_task(work(), name="b")
            spin(loop)
            found.append(sorted(t.get_name() for t in f._asyncio_awaited_by))
            a.cancel()
            spin(loop, 2)
            found.append(f._asyncio_awaited_by and len(f._asyncio_awaited_by))
            spin(loop, 2)
            return found + [b.done(), f._asyncio_awaited_by and len(f._asyncio_awaited_by)]
    same(scenario)


@graph
def test_future_add_and_discard_awaited_by(aio, loop):
    f, t = loop.create_future(), loop.create_task(forever(loop))
    aio.future_add_to_awaited_by(f, t)
    assert f._asyncio_awaited_by == frozenset({t})
    aio.future_discard_from_awaited_by(f, t)
    assert not f._asyncio_awaited_by
    t.cancel()
    spin(loop, 2)
