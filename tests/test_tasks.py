"""Task, the class and its objects: construction, attributes, subclasses, lifetime. What tasks do is in the other test_tasks_*.py."""
import asyncio
import contextvars
import gc
import sys
import types
import weakref

import pytest

from support import Errors, forever, fresh_loop, outcome, spin


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
