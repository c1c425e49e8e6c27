"""Future: construction, states and results, copies, wrap_future() and its like. The rest is in test_futures_*.py."""
import asyncio
import concurrent.futures

import pytest

from support import PY, STATES, fresh_loop, in_state, outcome, plain, spin, tb_lines


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
