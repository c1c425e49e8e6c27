"""Future: states, results, callbacks, repr, reports of unretrieved exceptions, iteration, subclasses, lifetime."""
import asyncio
import concurrent.futures
import contextvars
import copy
import gc
import inspect
import pickle
import sys
import types
import typing
import weakref

import pytest

from support import PY, Errors, FakeLoop, fresh_loop, outcome, plain, report, spin, tb_lines

STATES = ("pending", "result", "exception", "cancelled")


def in_state(loop, state):
    f = type(loop.create_future())(loop=loop)     # create_future() is a Python frame of asyncio's in debug tracebacks
    if state == "result":
        f.set_result("value")
    elif state == "exception":
        f.set_exception(ValueError("wrong"))
        f._log_traceback = False
    elif state == "cancelled":
        f.cancel("enough")
    return f


def attributes(obj):
    """Every non-dunder attribute that can be read without calling, by name."""
    return {n: getattr(obj, n) for n in dir(obj) if not n.startswith("__") and not callable(getattr(obj, n))}


# --- construction and attributes ---------------------------------------------------------------------------------------

def test_a_new_future(aio, loop):
    f = aio.Future(loop=loop)
    assert type(f) is aio.Future and isinstance(f, asyncio.Future) and aio.isfuture(f) and asyncio.isfuture(f)
    assert not f.done() and not f.cancelled() and f.get_loop() is loop and f._loop is loop
    assert f._state == "PENDING" and f._asyncio_future_blocking is False and f._callbacks is None
    assert f._result is None and f._exception is None and f._log_traceback is False
    assert f._source_traceback is None and f._cancel_message is None


def test_create_future_is_of_the_loops_kind(aio, loop):
    assert type(loop.create_future()) is aio.Future


def test_loop_is_keyword_only(aio, loop):
    with pytest.raises(TypeError):
        aio.Future(loop)
    with pytest.raises(TypeError):
        aio.Future(loop=loop, other=1)


def test_loop_default_is_the_running_one(aio, loop, run):
    async def main():
        return aio.Future().get_loop(), aio.Future(loop=None).get_loop()
    assert run(main()) == (loop, loop)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_loop_at_all(same):
    def scenario(aio):
        if PY < (3, 14):
            asyncio.set_event_loop(None)
        return outcome(aio.Future)
    assert same(scenario)[:2] == ["raised", "RuntimeError"]


@pytest.mark.parametrize("bad", [5, "loop", object()])
def test_a_loop_that_is_none(same, bad):
    assert same(lambda aio: outcome(aio.Future, loop=bad))[:2] == ["raised", "AttributeError"]


def test_every_attribute_of_asyncios_future_is_there(aio):
    assert set(dir(asyncio.Future)) <= set(dir(aio.Future))


@pytest.mark.parametrize("state", STATES)
def test_attributes_in_each_state(same, state):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = in_state(loop, state)
            if state == "pending":
                f.add_done_callback(print)
            found = attributes(f)
            assert found.pop("_loop") is loop
            found.pop("_cancelled_exc", None)      # of asyncio's Python Future and of 3.11's
            return plain({n: v if n != "_callbacks" or v is None else [(c, type(x).__name__) for c, x in v]
                          for n, v in found.items()})
    same(scenario)


@pytest.mark.parametrize("state", STATES)
def test_attribute_assignment_follows_asyncio(same, state):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = {}
            for name in sorted(attributes(in_state(loop, state))):
                for value in (None, False, True, 0, "text", []):
                    f = in_state(loop, state)
                    how = outcome(setattr, f, name, value)
                    # AttributeError names the class; asyncio's own words are "... is not writable"
                    found[name, repr(value)] = [how, plain(getattr(f, name)) if name != "_loop" else None]
                f = in_state(loop, state)
                found[name, "del"] = outcome(delattr, f, name, text=False)
            return found
    same(scenario)


def test_log_traceback_can_only_be_set_to_false(aio, loop):
    f = loop.create_future()
    for truth in (True, 1, "yes"):
        with pytest.raises(ValueError, match="^_log_traceback can only be set to False$"):
            f._log_traceback = truth
    f.set_exception(ValueError())
    assert f._log_traceback is True
    f._log_traceback = False
    assert f._log_traceback is False

    class Evil:
        def __bool__(self):
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        f._log_traceback = Evil()


def test_blocking_flag(aio, loop):
    f = loop.create_future()
    f._asyncio_future_blocking = True
    assert f._asyncio_future_blocking is True
    f._asyncio_future_blocking = 0
    assert f._asyncio_future_blocking is False


def test_cancel_message_is_writable(aio, loop):
    f = loop.create_future()
    f.cancel("one")
    f._cancel_message = "two"
    with pytest.raises(aio.CancelledError, match="two"):
        f.result()


def test_uninitialised(same):
    def scenario(aio):
        calls = {"result": (), "exception": (), "cancel": (), "cancelled": (), "done": (), "get_loop": (), "set_result": (1,),
                 "set_exception": (ValueError(),), "add_done_callback": (print,), "remove_done_callback": (print,),
                 "_make_cancelled_error": (), "__iter__": (), "__await__": ()}
        found = {n: outcome(getattr(aio.Future.__new__(aio.Future), n), *args) for n, args in calls.items()}
        fresh = aio.Future.__new__(aio.Future)
        for name in sorted(n for n in dir(asyncio.Future) if n.startswith("_") and not n.startswith("__")):
            if not callable(getattr(asyncio.Future, name)):
                found[name] = outcome(getattr, fresh, name)
        found["next"] = outcome(lambda: next(iter(aio.Future.__new__(aio.Future))))
        return found
    same(scenario)


def test_init_again_starts_over(same):
    def scenario(aio):
        with fresh_loop(aio) as loop, fresh_loop(aio) as other:
            found = []
            for state in STATES:
                f = in_state(loop, state)
                if state == "pending":
                    f.add_done_callback(print)
                found.append(outcome(f.__init__, loop=other))            # refused from 3.15 on
                if found[-1][0] == "raised":
                    continue
                assert f.get_loop() is other
                found.append(plain([repr(f), f._state, f._callbacks, f._result, f._exception, f._log_traceback]))
                f.set_result("again")
                found.append(f.result())
            return found
    same(scenario)


def test_dict_and_free_attributes(aio, loop):
    f = loop.create_future()
    f.x, f.y = 1, f
    assert f.x == 1 and f.y is f
    del f.x
    with pytest.raises(AttributeError):
        f.x

    class F(aio.Future):
        x = 0
    f = F(loop=loop)
    assert f.x == 0
    f.x = 1
    assert f.x == 1
    del f.x
    assert f.x == 0
    f.set_result(f.x)
    assert f.result() == 0


# --- results, exceptions, cancellation ---------------------------------------------------------------------------------

def test_result(aio, loop):
    f, value = loop.create_future(), object()
    with pytest.raises(aio.InvalidStateError, match=r"^Result is not (ready|set)\.$"):
        f.result()
    with pytest.raises(aio.InvalidStateError, match=r"^Exception is not set\.$"):
        f.exception()
    assert f.set_result(value) is None
    assert f.done() and not f.cancelled() and f._state == "FINISHED"
    assert f.result() is value is f.result() is f._result and f.exception() is None
    assert f.cancel() is False


@pytest.mark.parametrize("state", STATES)
def test_setting_twice(same, state):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [outcome(in_state(loop, state).set_result, 1), outcome(in_state(loop, state).cancel),
                    outcome(in_state(loop, state).result), outcome(in_state(loop, state).exception)] + [
                outcome(in_state(loop, state).set_exception, OSError("later")) if state != "pending" else None]
    same(scenario)


def test_exception(aio, loop):
    f, exc = loop.create_future(), ValueError("x")
    assert f.set_exception(exc) is None
    assert f.done() and not f.cancelled() and f._state == "FINISHED" and f._log_traceback
    assert f.exception() is exc and f._exception is exc and not f._log_traceback
    with pytest.raises(ValueError) as info:
        f.result()
    assert info.value is exc


@pytest.mark.parametrize("bad", [
    ValueError, RuntimeError("x"), "text", 5, None, object, StopIteration, StopIteration(3), StopAsyncIteration(),
    KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError("c"), type("NeedsArgs", (Exception,), {"__init__": lambda s, a: None}),
    type("GivesNoException", (Exception,), {"__new__": lambda c: 5}), type("Iter", (StopIteration,), {})])
def test_set_exception_arguments(same, bad):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()
            found = [outcome(f.set_exception, bad), f._state]
            if f.done() and not f.cancelled():
                e = f.exception()
                found += [plain(e), plain(e.__cause__), plain(e.__context__), outcome(f.result)]
            return found
    same(scenario)


def test_tracebacks_do_not_grow(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()
            try:
                raise ValueError("with a traceback")
            except ValueError as e:
                f.set_exception(e)
            depths = []
            for _ in range(5):
                try:
                    f.result()
                except ValueError as e:
                    depths.append(tb_lines(e))

            async def awaiter():
                await f
            for _ in range(5):
                try:
                    loop.run_until_complete(awaiter())
                except ValueError as e:
                    depths.append(tb_lines(e))
            return depths
    depths = same(scenario)
    assert len(set(depths[1:5])) == 1 and len(set(depths[5:])) == 1


def test_cancel(aio, loop):
    f = loop.create_future()
    f.add_done_callback(lambda f: None)
    assert f.cancel() is True
    assert f.done() and f.cancelled() and f._state == "CANCELLED" and f._callbacks is None
    assert f.cancel() is False
    for ask in (f.result, f.exception):
        with pytest.raises(aio.CancelledError) as info:
            ask()
        assert info.value.args == ()
    for act in (lambda: f.set_result(1), lambda: f.set_exception(ValueError())):
        with pytest.raises(aio.InvalidStateError, match="^CANCELLED: <Future cancelled>$|^invalid state$"):
            act()


@pytest.mark.parametrize("args,kwargs", [((), {}), (("m",), {}), ((), {"msg": "m"}), ((None,), {}), ((5,), {}), ((("t", 1),), {}),
                                         (("",), {}), (("a", "b"), {}), ((), {"message": 1})])
def test_cancel_messages(same, args, kwargs):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()
            found = [outcome(f.cancel, *args, text=False, **kwargs), plain(f._cancel_message)]
            for ask in (f.result, f.exception, f.result):
                try:
                    ask()
                except BaseException as e:
                    found.append([type(e).__name__, plain(e.args)])
            e = f._make_cancelled_error()
            return found + [type(e).__name__, plain(e.args)]
    same(scenario)


def test_cancelled_errors_do_not_chain_to_each_other(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()
            f.cancel("m")
            found = []
            for _ in range(3):
                try:
                    f.result()
                except aio.CancelledError as e:
                    found.append([e.__context__ is None, e.__cause__ is None, tb_lines(e)])
            return found
    same(scenario)


# --- callbacks ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("how", ["result", "exception", "cancel"])
def test_callbacks_run_in_order_in_the_next_tick(aio, loop, n, how):
    f, seen = loop.create_future(), []
    for i in range(n):
        assert f.add_done_callback(lambda fut, i=i: seen.append((i, fut))) is None
    if how == "result":
        f.set_result(1)
    elif how == "exception":
        f.set_exception(OSError())
        f.exception()
    else:
        f.cancel()
    assert seen == [] and f._callbacks is None
    spin(loop)
    assert seen == [(i, f) for i in range(n)]


def test_callback_added_to_a_done_future(aio, loop):
    f, seen = loop.create_future(), []
    f.set_result(1)
    f.add_done_callback(seen.append)
    assert seen == [] and f._callbacks is None
    spin(loop)
    assert seen == [f]


def test_callbacks_as_asyncio_shows_them(aio, loop):
    f = loop.create_future()
    contexts = [contextvars.Context() for _ in range(4)]
    assert f._callbacks is None
    for i, c in enumerate(contexts):
        f.add_done_callback(print, context=c)
        assert f._callbacks == [(print, c) for c in contexts[:i + 1]] and all(type(p) is tuple for p in f._callbacks)
    f._callbacks.clear()                       # a copy
    assert len(f._callbacks) == 4


def test_callback_contexts(aio, loop):
    var = contextvars.ContextVar("var", default="outside")
    f, seen = loop.create_future(), []
    given = contextvars.copy_context()
    given.run(var.set, "given")
    var.set("at add")
    f.add_done_callback(lambda f: seen.append(var.get()))
    f.add_done_callback(lambda f: seen.append(var.get()), context=given)
    f.add_done_callback(lambda f: var.set("a callback's own"), context=None)
    var.set("later")
    f.add_done_callback(lambda f: seen.append(var.get()))
    f.set_result(None)
    f.add_done_callback(lambda f: seen.append(var.get()), context=given)
    spin(loop)
    assert seen == ["at add", "given", "later", "given"] and var.get() == "later"


def test_callback_argument_errors(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()
            return [outcome(f.add_done_callback, text=False), outcome(f.add_done_callback, print, None, text=False),
                    outcome(f.add_done_callback, print, context=None), outcome(f.add_done_callback, print, ctx=None, text=False),
                    outcome(f.remove_done_callback, text=False), outcome(f.remove_done_callback, print),
                    outcome(f.remove_done_callback, None)]
    same(scenario)


def test_callbacks_that_cannot_be_called(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            found = []
            for bad in (None, 5, "text"):
                f = loop.create_future()
                found.append(outcome(f.add_done_callback, bad))
                f.set_result(1)
                spin(loop)
                found.append([report(c) for c in errors.take()])
            return found
    same(scenario)


def test_an_invalid_context(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            found = []
            for n in (0, 1):
                f = loop.create_future()
                for _ in range(n):
                    f.add_done_callback(lambda f: None)
                found.append(outcome(f.add_done_callback, print, context=5))
                found.append(outcome(f.set_result, 1))
                found.append(outcome(spin, loop, text=False))
                found.append([sorted(c) for c in errors.take()])
            return found
    same(scenario)


def test_exception_in_a_callback(aio, loop, errors):
    f, seen = loop.create_future(), []

    def broken(f):
        raise ZeroDivisionError("callback")
    f.add_done_callback(broken)
    f.add_done_callback(seen.append)
    f.set_result(1)
    spin(loop)
    context = errors.take_one()
    assert sorted(context) == ["exception", "handle", "message"] and isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback test_exception_in_a_callback.<locals>.broken(")
    assert isinstance(context["handle"], asyncio.Handle) and seen == [f]


def test_remove_done_callback(aio, loop):
    def a(f):
        pass

    def b(f):
        pass
    f = loop.create_future()
    assert f.remove_done_callback(a) == 0
    f.add_done_callback(a)
    assert f.remove_done_callback(b) == 0
    assert f.remove_done_callback(a) == 1
    assert f.remove_done_callback(a) == 0 and f._callbacks is None
    for c in (a, b, a, b, a):
        f.add_done_callback(c)
    assert f.remove_done_callback(a) == 3
    assert [c for c, _ in f._callbacks] == [b, b]
    assert f.remove_done_callback(b) == 2 and f._callbacks is None
    f.add_done_callback(a)
    f.set_result(1)
    assert f.remove_done_callback(a) == 0


def test_removing_compares_by_equality(aio, loop):
    class Same:
        calls = 0

        def __call__(self, f):
            Same.calls += 1

        def __eq__(self, other):
            return isinstance(other, Same)

        __hash__ = None

    class C:
        def method(self, f):
            Same.calls += 1
    f, c = loop.create_future(), C()
    for cb in (Same(), Same(), c.method, c.method):
        f.add_done_callback(cb)
    assert f.remove_done_callback(Same()) == 2 and f.remove_done_callback(c.method) == 2
    f.set_result(1)
    spin(loop)
    assert Same.calls == 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_removing_when_comparison_raises(same, n):
    class Raises:
        def __eq__(self, other):
            raise ZeroDivisionError("no comparison")

        def __call__(self, f):
            pass

    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()
            for _ in range(n):
                f.add_done_callback(Raises())
            f.add_done_callback(print)
            found = [outcome(f.remove_done_callback, object()), len(f._callbacks)]
            found += [outcome(f.remove_done_callback, Raises()), len(f._callbacks)]
            return found
    same(scenario)


@pytest.mark.parametrize("deed", ["set_result", "cancel", "remove_same", "remove_all", "add", "reinit"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_reentrant_comparison(same, n, deed):
    """__eq__ of a callback changes the very future that is comparing."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f, ran = loop.create_future(), []

            class Evil:
                armed = True

                def __call__(self, fut):
                    ran.append("evil")

                def __eq__(self, other):
                    if Evil.armed:
                        Evil.armed = False
                        if deed == "set_result":
                            f.set_result(1)
                        elif deed == "cancel":
                            f.cancel()
                        elif deed == "remove_same":
                            f.remove_done_callback(self)
                        elif deed == "remove_all":
                            for c, _ in f._callbacks or ():
                                f.remove_done_callback(c)
                        elif deed == "add":
                            f.add_done_callback(late)
                        else:
                            f.__init__(loop=loop)
                    return False

                __hash__ = object.__hash__

            def late(fut):
                ran.append("late")
            for _ in range(n):
                f.add_done_callback(Evil())
                f.add_done_callback(lambda f: ran.append("plain"))
            found = outcome(f.remove_done_callback, print)
            left = f._callbacks and len(f._callbacks)
            state = f._state
            if not f.done():
                f.set_result(2)
            spin(loop)
            # what a removal that was overtaken by a re-entrant one leaves behind differs between asyncio's versions;
            # no callback may be lost that nobody asked to remove, none may run twice
            return [found[0], state, left, ran]
    same(scenario)


def test_comparison_drops_the_last_reference_to_the_callback(aio, loop):
    class Evil:
        busy = False

        def __eq__(self, other):
            if not Evil.busy:
                Evil.busy = True
                f.remove_done_callback(marker)
                gc.collect()
                Evil.busy = False
            return False

        def __call__(self, f):
            pass
    def marker(f):
        pass
    for n in (1, 2, 4):
        f = loop.create_future()
        for _ in range(n):
            f.add_done_callback(Evil())
            f.add_done_callback(marker)
        assert f.remove_done_callback(lambda f: None) == 0
        f.cancel()


def test_callbacks_that_change_the_list(aio, loop):
    f, seen = loop.create_future(), []

    def first(fut):
        seen.append("first")
        fut.remove_done_callback(second)
        fut.add_done_callback(third)

    def second(fut):
        seen.append("second")

    def third(fut):
        seen.append("third")
    f.add_done_callback(first)
    f.add_done_callback(second)
    f.set_result(None)
    spin(loop)
    assert seen == ["first", "second"]
    spin(loop)
    assert seen == ["first", "second", "third"]


def test_callbacks_and_waiting_tasks_keep_one_order(same):
    """A waiting task is an entry in the same list as the callbacks (D6)."""
    def scenario(aio, first):
        with fresh_loop(aio) as loop:
            f, seen = loop.create_future(), []

            async def wait(name):
                seen.append(await f + name)
            tasks = []

            def add_task(name):
                tasks.append(loop.create_task(wait(name)))
                spin(loop)
            if first == "task":
                add_task("t0")
            f.add_done_callback(lambda f: seen.append("c1"))
            add_task("t2")
            f.add_done_callback(lambda f: seen.append("c3"))
            add_task("t4")
            shown = [len(f._callbacks), [type(c).__name__ == "function" for c, _ in f._callbacks]]
            assert f._callbacks == f._callbacks
            f.set_result("")
            spin(loop, 2)
            return shown + seen
    assert same(scenario, "callback")[2:] == ["c1", "t2", "c3", "t4"]
    assert same(scenario, "task")[2:] == ["t0", "c1", "t2", "c3", "t4"]


def test_the_wakeup_can_be_found_and_removed(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()

            async def wait():
                await f
            t = loop.create_task(wait())
            spin(loop)
            (wakeup, context), = f._callbacks
            assert context is (t.get_context() if PY >= (3, 12) else context)
            found = [f.remove_done_callback(wakeup), f._callbacks]
            f.set_result(1)
            spin(loop, 2)
            found.append(t.done())
            loop.call_soon(wakeup, f)
            spin(loop, 2)
            return found + [t.done()]
    assert same(scenario) == [1, None, False, True]


def test_foreign_callback_is_called_through_the_loops_call_soon(aio):
    loop, other = FakeLoop(), contextvars.Context()
    f, seen = aio.Future(loop=loop), []
    f.add_done_callback(seen.append, context=other)
    f.add_done_callback(seen.append, context=other)
    f.set_result(1)
    assert [(args, c) for _, args, c in loop.queue] == [((f,), other)] * 2
    loop.run_all()
    assert seen == [f, f]


def test_call_soon_that_raises(same):
    class Broken(FakeLoop):
        def call_soon(self, callback, *args, context=None):
            raise ZeroDivisionError("call_soon")

    def scenario(aio):
        found = []
        for n in (0, 1, 2, 3):
            f = aio.Future(loop=Broken())
            for _ in range(n):
                f.add_done_callback(print)
            found.append([outcome(f.set_result, 1), f._state, f.done(), f._callbacks and len(f._callbacks),
                          outcome(f.add_done_callback, print)])
        return found
    same(scenario)


def test_a_closed_loop(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f, g, h = loop.create_future(), loop.create_future(), loop.create_future()
            f.add_done_callback(print)
            g.add_done_callback(print)
            g.add_done_callback(print)
        return [outcome(f.set_result, 1), f._state, outcome(g.cancel), g._state, outcome(h.set_result, 1), h.result(),
                outcome(h.add_done_callback, print)]
    same(scenario)


# --- repr --------------------------------------------------------------------------------------------------------------

def named(f):
    pass


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("debug", [False, True])
def test_repr(same, state, debug):
    def scenario(aio):
        with fresh_loop(aio, debug=debug) as loop:
            return plain([repr(in_state(loop, state)), str(in_state(loop, state))])
    same(scenario)


def test_repr_says_it_all(aio, loop):
    f = loop.create_future()
    assert repr(f) == "<Future pending>"
    f.add_done_callback(named)
    line = named.__code__.co_firstlineno
    one = f"named() at {__file__}:{line}"
    assert repr(f) == f"<Future pending cb=[{one}]>"
    f.add_done_callback(named)
    assert repr(f) == f"<Future pending cb=[{one}, {one}]>"
    f.add_done_callback(print)
    f.add_done_callback(named)
    assert repr(f) == f"<Future pending cb=[{one}, <2 more>, {one}]>"
    f.set_result("x" * 1000)
    assert repr(f) == f"<Future finished result='{'x' * 12}...{'x' * 13}'>"
    g = loop.create_future()
    g.set_exception(ValueError("x"))
    assert repr(g) == "<Future finished exception=ValueError('x')>"
    g.exception()
    h = loop.create_future()
    h.cancel()
    assert repr(h) == "<Future cancelled>"


def test_repr_in_debug_mode_says_where(aio, loop):
    loop.set_debug(True)
    f = aio.Future(loop=loop)
    line = inspect.currentframe().f_lineno - 1
    assert repr(f) == f"<Future pending created at {__file__}:{line}>"
    assert f._source_traceback[-1][:3] == (__file__, line, "test_repr_in_debug_mode_says_where")


def test_repr_of_recursion(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f, g = loop.create_future(), loop.create_future()
            f.set_result([f, g])
            g.set_result(f)
            h = loop.create_future()

            class Fn:
                def __repr__(self):
                    return f"<Fn {h!r}>"

                def __call__(self, f):
                    pass
            h.add_done_callback(Fn())
            return plain([repr(f), repr(g), repr(h)])
    same(scenario)


def test_repr_that_raises(same):
    class NoRepr:
        def __repr__(self):
            raise ZeroDivisionError("repr")

        def __call__(self, f):
            pass

    def scenario(aio):
        with fresh_loop(aio) as loop:
            f, g, h = (loop.create_future() for _ in range(3))
            f.set_result(NoRepr())
            g.set_exception(type("E", (Exception,), {"__repr__": NoRepr.__repr__})())
            g.exception()
            h.add_done_callback(NoRepr())
            return [outcome(repr, x) for x in (f, g, h)]
    same(scenario)


def test_repr_of_a_subclass(aio, loop):
    class Fut(aio.Future):
        pass
    assert repr(Fut(loop=loop)) == "<Fut pending>"


def test_repr_uses_the_overridden_attributes(same):
    def scenario(aio):
        class F(aio.Future):
            _state = "MINE"

        with fresh_loop(aio) as loop:
            return [outcome(repr, F(loop=loop))]
    same(scenario)


# --- "exception was never retrieved" -----------------------------------------------------------------------------------

def test_never_retrieved(aio, loop, errors):
    exc = ValueError("lost")
    f = loop.create_future()
    f.set_exception(exc)
    del f
    gc.collect()
    context = errors.take_one()
    assert sorted(context) == ["exception", "future", "message"]
    assert context["message"] == "Future exception was never retrieved" and context["exception"] is exc
    assert type(context["future"]) is aio.Future and context["future"]._exception is exc


def test_never_retrieved_in_debug(aio, loop, errors):
    loop.set_debug(True)
    f = aio.Future(loop=loop)
    f.set_exception(ValueError())
    line = inspect.currentframe().f_lineno - 2
    del f
    context = errors.take_one()
    assert sorted(context) == ["exception", "future", "message", "source_traceback"]
    assert context["source_traceback"][-1].lineno == line


@pytest.mark.parametrize("look", [lambda f: f.exception(), lambda f: outcome(f.result), lambda f: setattr(f, "_log_traceback", False),
                                  lambda f: f.cancel()])
def test_retrieved(aio, loop, errors, look):
    f = loop.create_future()
    f.set_exception(ValueError())
    look(f)
    del f
    gc.collect()
    assert errors.contexts == []


@pytest.mark.parametrize("look", [lambda f: f.done(), lambda f: f.cancelled(), repr, lambda f: f._exception, lambda f: f._log_traceback])
def test_not_retrieved_by_looking_elsewhere(aio, loop, errors, look):
    f = loop.create_future()
    f.set_exception(ValueError())
    look(f)
    del f
    gc.collect()
    errors.take_one()


def test_never_retrieved_of_a_subclass(aio, loop, errors):
    class Fut(aio.Future):
        pass
    f = Fut(loop=loop)
    f.set_exception(ValueError())
    f.me = f
    del f
    gc.collect()
    assert errors.take_one()["message"] == "Fut exception was never retrieved"


def test_reported_once_even_if_the_handler_keeps_it(aio, loop, errors):
    f = loop.create_future()
    f.set_exception(ValueError())
    del f
    kept = errors.take_one()["future"]
    assert kept._state == "FINISHED" and isinstance(kept._exception, ValueError)
    del kept
    gc.collect()
    assert errors.contexts == []


def test_never_retrieved_when_the_handler_raises(aio, loop, caplog):
    def handler(loop, context):
        raise ZeroDivisionError("handler")
    loop.set_exception_handler(handler)
    f = loop.create_future()
    f.set_exception(ValueError())
    del f
    gc.collect()
    assert [r.message.split("\n")[0] for r in caplog.records] == ["Unhandled error in exception handler"]


def test_never_retrieved_after_the_loop_was_closed(aio, errors):
    loop = aio.new_event_loop()
    loop.set_exception_handler(errors)
    f = loop.create_future()
    f.set_exception(ValueError("late"))
    loop.close()
    del f
    assert errors.take_one()["message"] == "Future exception was never retrieved"


def test_exception_handler_of_a_foreign_loop(aio):
    loop = FakeLoop()
    f = aio.Future(loop=loop)
    f.set_exception(ValueError())
    del f
    gc.collect()
    assert [c["message"] for c in loop.reports] == ["Future exception was never retrieved"]


# --- iteration ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", [iter, lambda f: f.__await__(), lambda f: f.__iter__()])
def test_iteration(aio, loop, way):
    f = loop.create_future()
    it = way(f)
    assert iter(it) is it
    assert next(it) is f and f._asyncio_future_blocking is True
    f.set_result("r")
    with pytest.raises(StopIteration) as info:
        next(it)
    assert info.value.value == "r"
    with pytest.raises(StopIteration) as info:
        next(it)
    assert info.value.value == (None if PY < (3, 14) else "r")


def test_iteration_not_waited_for(aio, loop):
    it = iter(loop.create_future())
    next(it)
    with pytest.raises(RuntimeError, match="^await wasn't used with future$"):
        next(it)


def test_iteration_of_done_futures(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []
            for state in STATES[1:]:
                f = in_state(loop, state)
                it = iter(f)
                found.append([outcome(next, it), f._asyncio_future_blocking, outcome(next, it)])
            return found
    same(scenario)


@pytest.mark.parametrize("value", [None, 1, (1, 2), (), ("only",), ValueError("as a value"), StopIteration(5), StopIteration])
def test_results_that_stopiteration_could_unpack(aio, loop, run, value):
    f = loop.create_future()
    f.set_result(value)
    with pytest.raises(StopIteration) as info:
        next(iter(f))
    assert info.value.value is value

    async def main():
        return await f, (yield_from_result(f))
    got = run(main())
    assert got[0] is value and got[1] is value


def yield_from_result(f):
    def gen():
        return (yield from f)
    g = gen()
    try:
        next(g)
    except StopIteration as e:
        return e.value


def test_send_throw_close(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []

            def do(f, *steps):
                it = iter(f)
                for name, *args in steps:
                    how = outcome(getattr(it, name), *args)
                    found.append([name, "the future" if how[0] == "returned" and how[1] is not None else how])
            new = loop.create_future
            do(new(), ("send", None), ("close",), ("__next__",))
            do(new(), ("send", "a value"))
            do(new(), ("close",), ("__next__",), ("close",))
            do(new(), ("throw", ValueError("x")), ("__next__",))
            do(new(), ("__next__",), ("throw", ValueError("x")), ("__next__",))
            do(new(), ("throw", asyncio.CancelledError("c")))
            do(new(), ("throw", GeneratorExit()))
            do(new(), ("throw", 5))
            do(new(), ("throw", "text"))
            do(new(), ("throw", object))
            do(in_state(loop, "result"), ("send", None), ("__next__",))
            do(in_state(loop, "exception"), ("send", None))
            do(in_state(loop, "cancelled"), ("throw", ValueError("x")))
            return found
    same(scenario)


@pytest.mark.filterwarnings("ignore:.*throw.*:DeprecationWarning")
def test_throw_with_three_arguments(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            try:
                raise KeyError("k")
            except KeyError as e:
                tb = e.__traceback__
            calls = [(ValueError,), (ValueError, "text"), (ValueError, ValueError("inst")), (ValueError, None, tb),
                     (ValueError, ("a", "b")), (ValueError("inst"), "second"), (ValueError, None, "no traceback"), (KeyError, ValueError("other")),
                     (ValueError, None, None), ()]
            return [outcome(iter(loop.create_future()).throw, *args, text=bool(args)) for args in calls]
    same(scenario)


@pytest.mark.skipif(PY < (3, 12), reason="deprecated in 3.12")
def test_throw_with_three_arguments_warns(aio, loop):
    with pytest.warns(DeprecationWarning, match="the \\(type, exc, tb\\) signature of throw\\(\\) is deprecated"):
        with pytest.raises(ValueError):
            iter(loop.create_future()).throw(ValueError, "x", None)


def test_the_iterator_keeps_the_future_alive_and_no_longer(aio, loop):
    f = loop.create_future()
    ref, it = weakref.ref(f), iter(f)
    del f
    gc.collect()
    assert ref() is not None
    ref().set_result(1)
    assert outcome(next, it)[1] == "StopIteration"
    if PY >= (3, 14):
        del it
    gc.collect()
    assert ref() is None


def test_await_in_a_coroutine(aio, loop, run):
    f = loop.create_future()
    loop.call_soon(f.set_result, 42)

    async def main():
        return await f
    assert run(main()) == 42


def test_yield_from_in_a_generator_coroutine(aio, loop, run):
    @types.coroutine
    def old():
        f = loop.create_future()
        loop.call_soon(f.set_result, 42)
        return (yield from f)

    async def main():
        return await old()
    assert run(main()) == 42


# --- classes -----------------------------------------------------------------------------------------------------------

def test_class_getitem(aio):
    alias = aio.Future[int]
    assert type(alias) is types.GenericAlias and alias.__origin__ is aio.Future and alias.__args__ == (int,)


def test_the_class_itself(aio):
    assert aio.Future.__name__ == aio.Future.__qualname__ == "Future"
    assert issubclass(aio.Future, asyncio.Future)
    assert isinstance(aio.Future.__doc__, str) and aio.Future.__doc__


def test_generic_subclass(aio, loop, run):
    T = typing.TypeVar("T")

    class F(aio.Future, typing.Generic[T]):
        pass

    class G(typing.Generic[T], aio.Future):
        pass
    for cls in (F, G):
        f = cls(loop=loop)
        loop.call_soon(f.set_result, 1)
        assert run(f) == 1 and cls[int].__origin__ is cls


def test_subclass_with_slots(aio, loop):
    class S(aio.Future):
        __slots__ = ("a", "b")
    f = S(loop=loop)
    f.a = f
    f.c = 3                                        # the base has a __dict__
    with pytest.raises(AttributeError):
        f.b
    f.set_result(1)
    ref = weakref.ref(f)
    assert f.result() == 1 and f.a is f
    del f
    gc.collect()
    assert ref() is None


def test_subclass_with_del(aio, loop, errors):
    seen = []

    class D(aio.Future):
        def __del__(self):
            seen.append(self._state)
            super().__del__()
    f = D(loop=loop)
    f.set_exception(ValueError())
    del f
    gc.collect()
    assert seen == ["FINISHED"] and errors.take_one()["message"] == "D exception was never retrieved"


def test_resurrection(aio, loop):
    kept = []

    class D(aio.Future):
        def __del__(self):
            kept.append(self)
    f = D(loop=loop)
    f.set_result("alive")
    f.x = 1
    del f
    gc.collect()
    f = kept.pop()
    assert f.result() == "alive" and f.x == 1 and f.get_loop() is loop
    del f
    gc.collect()


def test_subclass_with_own_init(aio, loop):
    class I(aio.Future):
        def __init__(self, value, *, loop):
            super().__init__(loop=loop)
            self.set_result(value)
    assert I(5, loop=loop).result() == 5

    class NoInit(aio.Future):
        def __init__(self):
            pass
    with pytest.raises(aio.InvalidStateError, match=r"^Future object is not initialized\.$"):
        NoInit().result()


@pytest.mark.parametrize("name,args", [("result", ()), ("exception", ()), ("done", ()), ("cancelled", ()), ("cancel", ()), ("get_loop", ()),
                                       ("add_done_callback", None), ("set_result", (3,)), ("__await__", ())])
def test_overridden_methods_are_honoured_where_asyncio_honours_them(same, name, args):
    """A task waits for a future of a subclass with one method overridden: what is called, how often, and what comes out."""
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            calls = []

            def method(self, *args, **kwargs):
                calls.append(name)
                return getattr(aio.Future, name)(self, *args, **kwargs)
            F = type("F", (aio.Future,), {name: method})
            for how in ("result", "exception", "cancel", "task cancel"):
                f = F(loop=loop)

                async def wait():
                    return await f
                t = loop.create_task(wait())
                spin(loop)
                calls.append(how)
                if how == "result":
                    f.set_result(3)
                elif how == "exception":
                    f.set_exception(ValueError("x"))
                elif how == "cancel":
                    f.cancel()
                else:
                    t.cancel("by task")
                spin(loop, 3)
                calls.append(outcome(t.result) if t.done() else "pending")
                if not t.done():
                    t.cancel()
                    spin(loop, 2)
            return calls + [report(c) for c in errors.take()]
    same(scenario)


def test_overrides_that_lie(same):
    def scenario(aio):
        found = []
        errors = Errors()
        for body in ({"result": lambda self: "mine"}, {"get_loop": lambda self: None}, {"done": lambda self: True},
                     {"cancel": lambda self, msg=None: True}, {"_asyncio_future_blocking": None},
                     {"result": lambda self: 1 / 0}, {"add_done_callback": lambda self, f, *, context=None: 1 / 0},
                     {"get_loop": lambda self: 1 / 0}, {"__await__": lambda self: iter([None])}):
            with fresh_loop(aio, errors) as loop:
                F = type("F", (aio.Future,), body)
                f = F(loop=loop)

                async def wait():
                    return await f
                t = loop.create_task(wait())
                spin(loop, 2)
                if not f.cancelled() and not t.done():
                    aio.Future.set_result(f, "own")
                spin(loop, 3)
                found.append(outcome(t.result) if t.done() else "pending")
                if not t.done():
                    t._log_destroy_pending = False      # never to be stepped again
                    del t, f, wait
                    gc.collect()
                found.append([report(c)["message"] for c in errors.take()])
        return found
    same(scenario)


def test_not_a_future_by_declaration(aio, loop):
    class Not(aio.Future):
        _asyncio_future_blocking = None
    assert not aio.isfuture(Not(loop=loop))


def test_duck_typed_future(same):
    """Any object with _asyncio_future_blocking, add_done_callback, result and cancel can be awaited."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            calls = []

            class Duck:
                _asyncio_future_blocking = False

                def __init__(self):
                    self.callbacks, self.outcome = [], None

                def get_loop(self):
                    return loop

                def add_done_callback(self, fn, *, context=None):
                    calls.append(type(context).__name__)
                    self.callbacks.append((fn, context))

                def result(self):
                    calls.append("result")
                    if self.outcome is None:
                        raise asyncio.CancelledError("duck")
                    return self.outcome

                def cancel(self, msg=None):
                    calls.append(["cancel", msg])
                    self.finish(None)
                    return True

                def finish(self, outcome):
                    self.outcome = outcome
                    for fn, context in self.callbacks:
                        loop.call_soon(fn, self, context=context)

                def __await__(self):
                    self._asyncio_future_blocking = True
                    yield self
                    return self.outcome

            async def wait(d):
                return await d
            for deed in ("finish", "cancel"):
                d = Duck()
                t = loop.create_task(wait(d))
                spin(loop)
                assert t._fut_waiter is d and not d._asyncio_future_blocking
                calls.append([deed, repr(aio.isfuture(d))])
                if deed == "finish":
                    d.finish("quack")
                else:
                    t.cancel("stop")
                spin(loop, 2)
                calls.append(outcome(t.result))
            return plain(calls)
    same(scenario)


# --- lifetime, copies --------------------------------------------------------------------------------------------------

def test_weakref(aio, loop):
    f, dead = loop.create_future(), []
    ref = weakref.ref(f, dead.append)
    assert ref() is f
    del f
    assert ref() is None and dead == [ref]


@pytest.mark.parametrize("via", ["result", "exception", "callback", "dict", "context", "cancel message"])
def test_cycles_are_collected(aio, loop, via):
    f = loop.create_future()
    if via == "result":
        f.set_result([f])
    elif via == "exception":
        f.set_exception(ValueError(f))
        f.exception()
    elif via == "callback":
        f.add_done_callback(lambda _: f)
        f.add_done_callback(lambda _: f)
    elif via == "dict":
        f.me = f
    elif via == "context":
        context = contextvars.Context()
        context.run(contextvars.ContextVar("v").set, f)
        f.add_done_callback(print, context=context)
        del context
    else:
        f.cancel([f])
    ref = weakref.ref(f)
    del f
    gc.collect()
    assert ref() is None


def test_no_reference_is_lost_or_kept(aio, loop, run):
    value, exc = object(), ValueError()
    counts = sys.getrefcount(value), sys.getrefcount(exc), sys.getrefcount(named), sys.getrefcount(loop)
    for _ in range(50):
        f = loop.create_future()
        for _ in range(3):
            f.add_done_callback(named)
        f.remove_done_callback(named)
        f.add_done_callback(named)
        f.set_result(value)
        spin(loop)
        f.result()
        g = loop.create_future()
        g.set_exception(exc)
        for _ in range(3):
            outcome(g.result)
            exc.__traceback__ = None
        h = loop.create_future()
        h.cancel(value)
        outcome(h.result)
        del f, g, h
    gc.collect()
    assert (sys.getrefcount(value), sys.getrefcount(exc), sys.getrefcount(named), sys.getrefcount(loop)) == counts


def test_copying_and_pickling(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()
            return [outcome(copy.copy, f, text=False), outcome(copy.deepcopy, f, text=False)] + [
                outcome(pickle.dumps, f, p, text=False) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for kind, *error in same(scenario):
        assert kind == "raised"


def test_hash_and_equality(aio, loop):
    f, g = loop.create_future(), loop.create_future()
    assert f == f and f != g and len({f, g, f}) == 2 and hash(f) == hash(f)
    with pytest.raises(TypeError):
        f < g


# --- functions that make futures ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["result", "exception", "cancel", "cancel the wrapper"])
def test_wrap_future(same, how):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            c = concurrent.futures.Future()
            w = aio.wrap_future(c, loop=loop)
            assert isinstance(w, aio.Future) and aio.wrap_future(w) is w
            if how == "result":
                c.set_result(1)
            elif how == "exception":
                c.set_exception(ValueError("x"))
            elif how == "cancel":
                c.cancel()
                c.set_running_or_notify_cancel()
            else:
                w.cancel()
            spin(loop, 3)
            return [w._state, c._state, outcome(w.result)]
    same(scenario)


def test_wrap_future_type_error(same):
    same(lambda aio: outcome(aio.wrap_future, 5))


def test_chain_future_between_the_kinds(aio, loop):
    chain = asyncio.futures._chain_future
    if PY < (3, 15):                   # later a source in C that is not concurrent.futures' fails in asyncio as well
        a, b = asyncio.Future(loop=loop), aio.Future(loop=loop)
        chain(a, b)
        a.set_result(1)
        spin(loop, 2)
        assert b.result() == 1
    a, b = aio.Future(loop=loop), asyncio.Future(loop=loop)
    chain(a, b)
    b.cancel()
    spin(loop, 2)
    assert a.cancelled()
    a, b = aio.Future(loop=loop), concurrent.futures.Future()
    chain(a, b)
    a.set_result(1)
    spin(loop, 2)
    assert b.result(0) == 1
    a, b = concurrent.futures.Future(), aio.Future(loop=loop)
    chain(a, b)
    a.set_exception(ValueError("x"))
    spin(loop, 2)
    assert isinstance(b.exception(), ValueError)


def test_isfuture(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [aio.isfuture(x) for x in (loop.create_future(), concurrent.futures.Future(), aio.Future, 5, None, loop)]
    same(scenario)
