"""Freed futures and tasks are used again: nothing of the former may be found in the new one, and each tells of itself at its end."""
import asyncio
import contextvars
import gc
import weakref

import _asyncio
import pytest

from support import PY

ROUNDS = 300  # more than are kept


async def identity(value):
    return value


async def wait(future):
    await future


def test_a_future_from_the_free_list_is_as_new(aio, loop):
    for _ in range(ROUNDS):
        old = loop.create_future()
        old.attribute = [1]
        old.add_done_callback(print)
        old.add_done_callback(repr)
        old._asyncio_future_blocking = True
        reference = weakref.ref(old)
        old.remove_done_callback(print)
        old.remove_done_callback(repr)
        old.cancel("message")
        del old
        assert reference() is None
        new = loop.create_future()
        assert not hasattr(new, "attribute")
        assert not new._callbacks and new._cancel_message is None and not new._asyncio_future_blocking
        assert not new.done() and not new.cancelled() and weakref.getweakrefcount(new) == 0
        assert new._exception is None and new._result is None and not new._log_traceback
        del new


def test_a_task_from_the_free_list_is_as_new(aio, loop):
    async def main():
        names = set()
        for i in range(ROUNDS):
            old = loop.create_task(wait(loop.create_future()), name="old")
            old.attribute = [1]
            await aio.sleep(0)
            assert old.cancel("message") and old.cancel()
            await aio.wait([old])   # a traceback from `await old` would keep it alive
            assert old.cancelled() and old.cancelling() == 2
            reference = weakref.ref(old)
            del old
            assert reference() is None
            new = loop.create_task(identity(i))
            assert not hasattr(new, "attribute")
            assert new.cancelling() == 0 and not new._must_cancel and new._fut_waiter is None and new._log_destroy_pending
            names.add(new.get_name())
            assert await new == i
            del new
        assert len(names) == ROUNDS and "old" not in names
    loop.run_until_complete(main())


def test_nothing_of_the_base_is_left(aio, loop):
    """Somebody may call asyncio's own methods on our objects."""
    for make in (loop.create_future, lambda: loop.create_task(wait(loop.create_future()))):
        for _ in range(3):
            future = make()
            if aio is not asyncio:
                _asyncio.Future.__init__(future, loop=loop)
                _asyncio.Future.set_result(future, 1)
                assert _asyncio.Future.done(future)
            if asyncio.iscoroutine(getattr(future, "_coro", None)):
                future.cancel()
                with pytest.raises(asyncio.CancelledError):
                    loop.run_until_complete(future)
            del future
            again = loop.create_future()
            assert not _asyncio.Future.done(again)
            del again


def test_each_reports_its_exception(aio, loop, errors):
    """The collector remembers of an object that its finalizer has run: such a one must not come back."""
    def drop(cyclic):
        future = loop.create_future()
        if cyclic:
            future.me = future
        future.set_exception(ValueError("nobody asks"))

    for cyclic in (False, True, False, True, False):
        for _ in range(ROUNDS):
            drop(cyclic)
        gc.collect()
        assert len(errors.take()) == ROUNDS


def test_each_destroyed_task_is_reported(aio, loop, errors):
    async def main():
        for _ in range(4):
            for _ in range(50):
                # a cycle that only the collector can undo: future -> task -> coroutine -> future
                loop.create_task(wait(loop.create_future()))
            await aio.sleep(0)
            gc.collect()
            reports = errors.take()
            assert len(reports) == 50 and {r["message"] for r in reports} == {"Task was destroyed but it is pending!"}
    loop.run_until_complete(main())


def test_rare_fields_go_with_the_future(aio, loop):
    class Message:
        pass

    def fill(future):
        message = Message()
        future._cancel_message = message
        future.cancel(message)
        with pytest.raises(asyncio.CancelledError):
            future.result()
        return weakref.ref(message)

    references = [fill(loop.create_future()) for _ in range(10)]
    gc.collect()
    assert [reference() for reference in references] == [None] * 10


# --- The exception that carries a result to whoever awaits (one serves for all that are thrown away) ----------------------

class Value:
    """Something to hold a weak reference to."""


def done(loop, value):
    future = loop.create_future()
    future.set_result(value)
    return future


def stop_of(loop, value):
    with pytest.raises(StopIteration) as info:
        next(iter(done(loop, value)))
    return info.value


def test_a_stopiteration_that_is_kept_stays_as_it_was(aio, loop, run):
    async def give(value):
        return await done(loop, value)
    kept = []
    for i in range(10):
        assert run(give([i])) == [i]
        stop = stop_of(loop, [i, i])
        if i % 2:
            stop.__traceback__ = None
        kept.append(stop)
        assert run(give([i])) == [i]
    assert len(set(map(id, kept))) == 10
    for i, stop in enumerate(kept):
        assert stop.value == [i, i] and stop.args == ([i, i],) and (stop.__traceback__ is None) == bool(i % 2)
        assert stop.__cause__ is None and not stop.__suppress_context__


@pytest.mark.parametrize("dirty", [
    lambda e: setattr(e, "attribute", 1), lambda e: e.add_note("a note"), lambda e: setattr(e, "args", ("others", 2)),
    lambda e: setattr(e, "args", ()), lambda e: setattr(e, "value", "another"), lambda e: setattr(e, "__cause__", KeyError()),
    lambda e: setattr(e, "__suppress_context__", True), lambda e: hash(e.args), lambda e: e.with_traceback(None),
])
def test_nothing_of_a_stopiteration_is_found_in_the_next(aio, loop, run, dirty):
    async def main():
        assert await done(loop, 1) == 1
        iterator = iter(done(loop, "first"))
        try:
            next(iterator)
        except StopIteration as stop:
            dirty(stop)
        del iterator
        assert await done(loop, 2) == 2
    run(main())
    stop = stop_of(loop, "second")
    assert stop.value == "second" and stop.args == ("second",) and hash(stop.args) == hash(("second",))
    assert stop.__cause__ is None and not stop.__suppress_context__
    assert not stop.__dict__ and not hasattr(stop, "__notes__")


def test_a_stopiteration_has_the_handled_exception_as_context(aio, loop, run):
    async def main():
        first = KeyError("handled")
        try:
            raise first
        except KeyError:
            assert await done(loop, 1) == 1
            inner = stop_of(loop, 2)
        assert inner.__context__ is (first if PY < (3, 14) else None)
        assert await done(loop, 3) == 3
        return stop_of(loop, 4)
    assert run(main()).__context__ is None


def test_a_result_lives_no_longer_than_whoever_awaited_it_wants(aio, loop, run):
    async def main():
        for _ in range(5):
            value = Value()
            reference = weakref.ref(value)
            future = done(loop, value)
            del value
            value = await future
            assert reference() is value
            del future, value
            assert reference() is None
            if PY >= (3, 14):
                continue                    # the iterator may be asked again, and has the future
            iterator = iter(done(loop, Value()))
            reference = None
            try:
                next(iterator)
            except StopIteration as stop:
                reference = weakref.ref(stop.value)
            assert reference() is None      # though the iterator is still there
    run(main())


def test_a_finalizer_of_a_result_may_await_in_its_turn(aio, loop, run):
    class Awaiting:
        def __del__(self):
            got.append(stop_of(loop, len(got)).value)
    got = []

    async def main():
        for i in range(5):
            await done(loop, Awaiting())
            assert await done(loop, i) == i
    run(main())
    assert got == list(range(5))


def test_a_result_in_a_cycle_is_collected(aio, loop, run):
    async def main():
        for _ in range(3):
            gc.collect()
            value = Value()
            value.stop = stop_of(loop, value)
            reference = weakref.ref(value)
            value.itself = await done(loop, value)
            del value
            gc.collect()
            assert reference() is None
    run(main())


# --- Handles (one that nobody holds ends before its callback) -------------------------------------------------------------

def run_ready(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_handle_that_somebody_can_see_is_there_while_its_callback_runs(aio, loop):
    seen = []

    def look(which):
        handle = references[which]() if which != "held" else held
        seen.append(handle is not None and handle._callback is look and handle._args == (which,) and not handle.cancelled())
    for schedule in loop.call_soon, loop.call_soon_threadsafe:
        held = schedule(look, "held")
        references = {"weakly": weakref.ref(schedule(look, "weakly"))}
        run_ready(loop)
        assert references["weakly"]() is None
    assert seen == [True] * 4


def test_handles_of_callbacks_that_raise_are_reported_alike(same):
    def scenario(aio):
        loop = aio.new_event_loop()
        found = []

        def fail(*args):
            raise KeyError(*args)

        def handler(loop, context):
            handle = context["handle"]
            found.append([sorted(context), context["message"].replace(hex(id(loop)), "LOOP").partition(" at ")[0], repr(context["exception"]),
                          handle._args, handle._callback is fail, handle.cancelled(), handle._context.get(variable, None)])
        variable = contextvars.ContextVar("variable")
        loop.set_exception_handler(handler)
        token = variable.set("the caller's")
        loop.call_soon(fail)
        loop.call_soon(fail, 1)
        loop.call_soon(fail, 1, 2)
        loop.call_soon_threadsafe(fail, "other")
        kept = loop.call_soon(fail, "kept")
        variable.reset(token)
        run_ready(loop)
        found.append(kept._args)
        loop.close()
        return found
    same(scenario)


def test_a_callback_may_schedule_while_its_own_handle_is_free_again(aio, loop):
    seen = []

    def step(left, values):
        for value in values:                    # from the handle that was this one's
            loop.call_soon(seen.append, value)
        gc.collect()
        if left:
            loop.call_soon(step, left - 1, [left * 10 + i for i in range(3)])
    loop.call_soon(step, 3, [0])
    for _ in range(6):
        run_ready(loop)
    assert seen == [0, 30, 31, 32, 20, 21, 22, 10, 11, 12]


def test_what_a_callback_was_given_lives_until_it_has_run(aio, loop):
    seen = []

    def look(value):
        reference = weakref.ref(value)
        del value
        gc.collect()
        seen.append(reference() is not None)
        references.append(reference)
    references = []
    for _ in range(3):
        loop.call_soon(look, Value())
        loop.call_soon_threadsafe(look, Value())
    run_ready(loop)
    assert seen == [True] * 6 and [r() for r in references] == [None] * 6


def test_a_callback_that_closes_the_loop_or_changes_its_mode(aio):
    loop = aio.new_event_loop()
    seen = []
    loop.call_soon(loop.set_debug, True)
    loop.call_soon(seen.append, 1)
    loop.call_soon(loop.set_debug, False)
    loop.call_soon(seen.append, 2)
    run_ready(loop)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert seen == [1, 2]
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        loop.call_soon(seen.append, 3)
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        loop.call_soon_threadsafe(seen.append)
