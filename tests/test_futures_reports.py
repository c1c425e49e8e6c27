"""What a future shows of itself: repr, and the report of an exception that nobody retrieved."""
import gc
import inspect

import pytest

from support import STATES, FakeLoop, fresh_loop, in_state, outcome, plain


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
