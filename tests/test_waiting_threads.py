"""to_thread, run_in_executor, wrap_future, run_coroutine_threadsafe: between threads and a loop, on asyncio and on the module under test."""
import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import inspect
import logging
import threading
import weakref
from unittest import mock

import pytest

from support import PY, FakeLoop, fresh_loop, outcome, plain, report, rewritten_in_place, scrub, spin, spin_until
from ticking import chain

# Older futures refuse a StopIteration; whoever waits for the thread that raised it waits for ever.
_future = asyncio.Future(loop=FakeLoop())
TAKES_STOP = outcome(_future.set_exception, StopIteration())[0] == "returned" and _future.exception() is not None

variable = contextvars.ContextVar("variable", default=0)


def scenario(main, debug=False):
    """A scenario for `same`: what main(aio, loop, log) returns or raises, what it logged and what was reported."""
    def run(aio):
        log = []
        with fresh_loop(aio, debug=debug) as loop:
            async def outer():
                try:
                    return plain(await main(aio, loop, log))
                except BaseException as e:
                    return ["raised", chain(e)]
            result = loop.run_until_complete(outer())
            gc.collect()
            return result, plain(log), reports(loop)
    return run


@pytest.fixture
def records():
    """What concurrent.futures logged."""
    class Keep(logging.Handler):
        def emit(self, record):
            found.append(scrub(record.getMessage()) + ": " + repr(record.exc_info[1]))
    found, handler, logger = [], Keep(), logging.getLogger("concurrent.futures")
    logger.addHandler(handler)
    logger.propagate = False
    yield found
    logger.propagate = True
    logger.removeHandler(handler)


def reports(loop):
    """What was reported, without the place and the arguments of a Python callback."""
    return [{k: v.partition("(")[0] if k == "message" else v for k, v in report(c).items()} for c in loop.errors.take()]


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


class AtOnce(concurrent.futures.Executor):
    """Runs what it gets in submit(), or leaves it to the test."""

    def __init__(self, make=concurrent.futures.Future, run=True):
        self.make, self.run, self.calls, self.futures = make, run, [], []

    def submit(self, fn, /, *args, **kwargs):
        self.calls.append((fn, args, kwargs))
        future = self.make()
        self.futures.append(future)
        if self.run:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as e:
                future.set_exception(e)
        return future


# --- to_thread ---------------------------------------------------------------------------------------------------------

def test_to_thread(same):
    async def main(aio, loop, log):
        variable.set(5)

        def change(*args, **kwargs):
            before = variable.get()
            variable.set(6)
            return args, sorted(kwargs.items()), before, threading.current_thread() is threading.main_thread()
        log.append([await aio.to_thread(change, 1, "two", x=3, func=4, self=5), variable.get()])
        log.append([await aio.to_thread(change), variable.get()])
        for bad in (lambda: int("x"), lambda: {}["key"], lambda: 5 / 0):
            try:
                await aio.to_thread(bad)
            except Exception as e:
                log.append(chain(e))
        for call in (lambda: aio.to_thread(), lambda: aio.to_thread(func=int)):
            log.append(outcome(call, text=False))
        for bad in (5, None):
            try:
                await aio.to_thread(bad)
            except TypeError as e:
                log.append(plain(e))
    same(scenario(main))


def test_to_thread_raises_what_a_coroutine_cannot(same):
    async def main(aio, loop, log):
        for exc in (concurrent.futures.CancelledError("c"), concurrent.futures.InvalidStateError("i"), asyncio.CancelledError("a"),
                    concurrent.futures.TimeoutError("t"), KeyError("k"), *([StopIteration(1)] if TAKES_STOP else [])):
            def bad():
                raise exc
            try:
                await aio.to_thread(bad)
            except BaseException as e:
                log.append([type(e).__module__ + "." + type(e).__name__, str(e), e is exc, e.__traceback__ is not None])
    same(scenario(main))


def test_to_thread_asks_the_loop_by_name(same):
    def run(aio):
        seen = []
        with fresh_loop(aio) as loop:
            def run_in_executor(executor, func, *args):
                seen.append([executor, type(func).__name__, func.func.__name__, func.args[1:], func.keywords, args])
                future = loop.create_future()
                future.set_result("own")
                return future
            loop.run_in_executor = run_in_executor
            seen.append(loop.run_until_complete(aio.to_thread(divmod, 7, 2)))
            del loop.run_in_executor
        return plain(seen)
    same(run)


def test_to_thread_without_a_loop(same):
    def run(aio):
        coro = aio.to_thread(int)
        return outcome(coro.send, None)
    same(run)


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_leaving_to_thread(same, how):
    async def main(aio, loop, log):
        executor = AtOnce(run=False)
        with mock.patch.object(loop, "_check_default_executor", lambda: None):
            loop._default_executor = executor
            coro = aio.to_thread(int)
            if how == "cancel":
                task = aio.ensure_future(coro)
                await aio.sleep(0)
                task.cancel("why")
                try:
                    await task
                except aio.CancelledError as e:
                    log.append(e.args)
            else:
                coro.send(None)
                coro.close()
            await aio.sleep(0)
            log.append([executor.futures[0].cancelled(), len(executor.calls)])
            loop._default_executor = None
    same(scenario(main))


# --- run_in_executor ---------------------------------------------------------------------------------------------------

def test_run_in_executor(same):
    async def main(aio, loop, log):
        executor = AtOnce()
        future = loop.run_in_executor(executor, divmod, 7, 2)
        log.append([type(future) is type(loop.create_future()), future.get_loop() is loop, await future, plain(executor.calls)])
        log.append([await loop.run_in_executor(executor=executor, func=int), await loop.run_in_executor(executor, func=int)])
        log.append(await loop.run_in_executor(executor, max, *range(20)))
        log.append(await loop.run_in_executor(None, int, "5"))
        log.append(await loop.run_in_executor(None, functools.partial(int, "6")))
        for call in (lambda: loop.run_in_executor(), lambda: loop.run_in_executor(None), lambda: loop.run_in_executor(None, func=int, x=1)):
            log.append(outcome(call, text=False))
        log.append(outcome(loop.run_in_executor, 5, int))
        log.append([str(inspect.signature(loop.run_in_executor)), inspect.iscoroutinefunction(loop.run_in_executor)])
    same(scenario(main))


def test_run_in_executor_in_debug_mode(same):
    async def main(aio, loop, log):
        async def coroutine():
            pass
        for bad in (coroutine, 5, None):
            log.append(outcome(loop.run_in_executor, AtOnce(), bad))
        log.append(await loop.run_in_executor(None, int, "5"))
    same(scenario(main, debug=True))


def test_run_in_executor_when_it_is_too_late(same):
    def run(aio):
        got = []
        with fresh_loop(aio) as loop:
            got.append(loop.run_until_complete(loop.run_in_executor(None, int)))
            loop.run_until_complete(loop.shutdown_default_executor())
            got.append(outcome(loop.run_in_executor, None, int))
            got.append(outcome(loop.run_until_complete, aio.to_thread(int)))
            future = loop.run_in_executor(AtOnce(), int)
            got.append(loop.run_until_complete(future))
            loop.close()
            got.append(outcome(loop.run_in_executor, AtOnce(), int))
        return got
    same(run)


@pytest.mark.parametrize("kind", ["future of the loop", "subclass", "number"])
def test_what_an_executor_may_return(same, kind):
    async def main(aio, loop, log):
        class Mine(concurrent.futures.Future):
            def result(self, timeout=None):
                return ["mine", super().result(timeout)]

        executor = AtOnce({"future of the loop": loop.create_future, "subclass": Mine, "number": mock.Mock}[kind])
        if kind == "number":
            executor.submit = lambda *args: 5
        try:
            future = loop.run_in_executor(executor, divmod, 7, 2)
            log.append([kind == "future of the loop" and future is executor.futures[0], await future])
        except AssertionError as e:
            log.append(plain(e))
    same(scenario(main))


def test_patches_on_the_way_into_an_executor(same):
    """Tracers wrap BaseEventLoop.run_in_executor; ray uses futures._chain_future."""
    async def main(aio, loop, log):
        async def call():
            return [await loop.run_in_executor(AtOnce(), int, "7"), await aio.to_thread(int, "8")]
        for home, name in ((asyncio.BaseEventLoop, "run_in_executor"), (asyncio.futures, "wrap_future"), (asyncio.futures, "_chain_future")):
            original, seen = getattr(home, name), []

            def patched(*args, original=original, seen=seen, **kwargs):
                seen.append(len(args))
                return original(*args, **kwargs)
            with mock.patch.object(home, name, patched):
                log.append([name, await call(), seen])
            log.append([await call(), seen])
            rewritten = []
            with rewritten_in_place(original, lambda *args: rewritten.append(len(args))):
                log.append([name, await call(), rewritten])
            log.append([await call(), rewritten])
    same(scenario(main))


# --- wrap_future -------------------------------------------------------------------------------------------------------

def test_wrap_future(same):
    async def main(aio, loop, log):
        own = loop.create_future()
        log.append([aio.wrap_future(own) is own, aio.wrap_future(future=own, loop=None) is own])
        for bad in (5, None, "x"):
            log.append(outcome(aio.wrap_future, bad))
        for call in (lambda: aio.wrap_future(), lambda: aio.wrap_future(own, loop), lambda: aio.wrap_future(own, x=1)):
            log.append(outcome(call, text=False))
        concurrent_one = concurrent.futures.Future()
        wrapped = aio.wrap_future(concurrent_one)
        log.append([wrapped.get_loop() is loop, [cb.__qualname__ for cb, _ in wrapped._callbacks],
                    [cb.__qualname__ for cb in concurrent_one._done_callbacks]])
        concurrent_one.set_result("r")
        log.append([wrapped.done(), await wrapped])
        own.cancel()
    same(scenario(main))


@pytest.mark.parametrize("end", ["result", "exception", "cancel", "notified", *(["stop"] if TAKES_STOP else [])])
@pytest.mark.parametrize("when", ["before", "in the loop", "in a thread"])
def test_how_a_wrapped_future_ends(same, end, when):
    async def main(aio, loop, log):
        source = concurrent.futures.Future()

        def finish():
            if end == "result":
                source.set_result(["r"])
            elif end == "exception":
                source.set_exception(ValueError("v"))
            elif end == "stop":
                source.set_exception(StopIteration(5))
            else:
                source.cancel()
                if end == "notified":
                    source.set_running_or_notify_cancel()
        if when == "before":
            finish()
        wrapped = aio.wrap_future(source)
        wrapped.add_done_callback(lambda f: log.append("called back"))
        log.append(wrapped.done())
        loop.call_soon(log.append, "a tick")
        if when != "before":
            finish() if when == "in the loop" else in_thread(finish)
        log.append(wrapped.done())
        for _ in range(3):
            await aio.sleep(0)
            log.append(wrapped.done())
        try:
            log.append(await wrapped)
        except BaseException as e:
            log.append(chain(e))
    same(scenario(main))


@pytest.mark.parametrize("state", ["pending", "running", "finished", "cancelled"])
def test_cancelling_a_wrapped_future(same, state):
    async def main(aio, loop, log):
        source = concurrent.futures.Future()
        wrapped = aio.wrap_future(source)
        if state == "running":
            source.set_running_or_notify_cancel()
        elif state == "finished":
            source.set_result("late")
        elif state == "cancelled":
            source.cancel()
        log.append([wrapped.cancel("why"), wrapped.cancelled(), source.cancelled()])
        for _ in range(2):
            await aio.sleep(0)
        log.append([source.cancelled(), source.running()])
        if state == "running":
            source.set_result("late")           # nobody minds
        await aio.sleep(0)
        try:
            await wrapped
        except aio.CancelledError as e:
            log.append(e.args)
    same(scenario(main))


def test_a_result_for_a_future_that_has_one(same):
    async def main(aio, loop, log):
        source = concurrent.futures.Future()
        wrapped = aio.wrap_future(source)
        in_thread(source.set_result, 1)
        if not wrapped.done():
            wrapped.set_result(2)
        await aio.sleep(0)
        log.append(await wrapped)
    same(scenario(main))


def test_an_end_after_the_loop_was_closed(same, records):
    def run(aio):
        with fresh_loop(aio) as loop:
            sources = [concurrent.futures.Future() for _ in range(3)]
            wrapped = [aio.wrap_future(source, loop=loop) for source in sources]
            wrapped[1].cancel()
        sources[0].set_result(1)
        in_thread(sources[1].cancel)
        in_thread(sources[2].set_exception, ValueError())
        found = [f.done() for f in wrapped], list(records)
        records.clear()
        return plain(found)
    same(run)


def test_a_patched_method_of_concurrent_futures(same):
    """What a program puts into the class is asked."""
    async def main(aio, loop, log):
        source = concurrent.futures.Future()
        wrapped = aio.wrap_future(source)
        original = concurrent.futures.Future.result
        name = "_get_snapshot" if hasattr(source, "_get_snapshot") else "result"
        value = (True, False, "patched", None) if name == "_get_snapshot" else "patched"
        with mock.patch.object(concurrent.futures.Future, name, lambda self, timeout=None: value):
            in_thread(source.set_result, "own")
            log.append(await wrapped)
        assert concurrent.futures.Future.result is original
        source = concurrent.futures.Future()
        wrapped = aio.wrap_future(source)
        in_thread(source.set_result, "own")
        log.append(await wrapped)
    same(scenario(main))


@pytest.mark.parametrize("name", ["call_soon_threadsafe", "create_future"])
def test_overridden_methods_of_the_loop_are_used(same, name):
    async def main(aio, loop, log):
        original = getattr(loop, name)

        def own(*args, **kwargs):
            log.append([name, callable(args[0]) if args else None])
            return original(*args, **kwargs)
        setattr(loop, name, own)
        source = concurrent.futures.Future()
        wrapped = aio.wrap_future(source, loop=loop)
        in_thread(source.set_result, 1)
        log.append(await wrapped)
        delattr(loop, name)
    same(scenario(main))


def test_wrap_future_on_a_foreign_loop(aio):
    loop, calls = FakeLoop(), []
    loop.create_future = lambda: asyncio.Future(loop=loop)

    def call_soon_threadsafe(callback, *args):
        calls.append(len(args))
        loop.call_soon(callback, *args)
    loop.call_soon_threadsafe = call_soon_threadsafe
    source = concurrent.futures.Future()
    wrapped = aio.wrap_future(source, loop=loop)
    in_thread(source.set_result, "r")
    loop.run_all()
    assert wrapped.result() == "r" and len(calls) == 1
    source = concurrent.futures.Future()
    wrapped = aio.wrap_future(source, loop=loop)
    wrapped.cancel()
    loop.run_all()
    assert source.cancelled()


# --- run_coroutine_threadsafe ------------------------------------------------------------------------------------------

def threadsafe(aio, loop, coro, get=lambda f: f.result(10)):
    """What a thread that waits for the coroutine sees, while the loop runs."""
    found = []

    def thread():
        try:
            found.append(["got", get(aio.run_coroutine_threadsafe(coro, loop))])
        except BaseException as e:
            found.append(["raised", type(e).__module__ + "." + type(e).__name__, str(e)])
    worker = threading.Thread(target=thread)
    worker.start()
    spin_until(loop, lambda: not worker.is_alive(), 10)
    worker.join()
    return found[0]


def test_run_coroutine_threadsafe(same):
    def run(aio):
        async def give(value):
            await aio.sleep(0)
            return value

        async def fail(exc):
            await aio.sleep(0)
            raise exc
        with fresh_loop(aio) as loop:
            got = [threadsafe(aio, loop, give(5)), threadsafe(aio, loop, fail(ValueError("v"))), threadsafe(aio, loop, fail(asyncio.CancelledError("c"))),
                   threadsafe(aio, loop, fail(TimeoutError("t"))), threadsafe(aio, loop, fail(asyncio.InvalidStateError("i"))),
                   threadsafe(aio, loop, aio.sleep(0, "slept")),
                   threadsafe(aio, loop, give(1), lambda f: [type(f).__module__, type(f).__name__, f.result(10), f.done()])]
            for bad in (5, None, loop.create_future()):
                got.append(outcome(aio.run_coroutine_threadsafe, bad, loop))
            got.append(outcome(aio.run_coroutine_threadsafe, text=False))
            return plain(got)
    same(run)


def test_cancelling_from_a_thread(same):
    def run(aio):
        log, ended = [], []

        async def long():
            try:
                await aio.sleep(50)
            except aio.CancelledError as e:
                ended.append(["cancelled", e.args])
                raise

        def cancel(future):
            started.wait(10)
            log.append([future.cancel(), future.cancelled()])
            return "done"
        with fresh_loop(aio) as loop:
            started = threading.Event()
            loop.call_later(0.01, started.set)
            log.append(threadsafe(aio, loop, long(), cancel))
            spin_until(loop, lambda: ended)
            spin(loop, 3)
            started.clear()
            task = None

            async def note():
                nonlocal task
                task = aio.current_task()
                await long()
            future = aio.run_coroutine_threadsafe(note(), loop)
            spin(loop, 2)
            task.cancel("from the loop")
            spin(loop, 3)
            log.append([future.cancelled(), future.done(), outcome(future.result)])
        return plain([log, ended])
    same(run)


@pytest.mark.parametrize("when", ["before it starts", "while it runs", "when it has ended"])
def test_cancelling_in_the_thread_of_the_loop(same, when):
    def run(aio):
        log = []

        async def main():
            log.append("started")
            try:
                await aio.sleep(0.001)
            except aio.CancelledError:
                log.append("cancelled")
                raise
            return "r"
        with fresh_loop(aio) as loop:
            future = aio.run_coroutine_threadsafe(main(), loop)
            if when != "before it starts":
                spin(loop, 2)
            if when == "when it has ended":
                spin_until(loop, future.done)
            log.append([future.cancel(), future.done(), future.running()])
            for _ in range(6):
                spin(loop)
                log.append(len(asyncio.all_tasks(loop)))
        return log
    same(run)


def test_a_task_that_cannot_be_made(same):
    """The error goes to the caller's future and to the loop's exception handler."""
    def run(aio):
        with fresh_loop(aio) as loop:
            def factory(loop, coro, **kwargs):
                coro.close()
                raise NameError("no task")
            loop.set_task_factory(factory)
            future = aio.run_coroutine_threadsafe(aio.sleep(0), loop)
            spin(loop, 2)
            got = [plain(future.exception(1)), reports(loop)]
            future = aio.run_coroutine_threadsafe(aio.sleep(0), loop)
            future.cancel()
            spin(loop, 2)
            got.append([future.cancelled(), reports(loop)])
            loop.set_task_factory(None)
        coro = aio.sleep(0)
        got.append(outcome(aio.run_coroutine_threadsafe, coro, loop))
        coro.close()
        return got
    same(run)


def test_exits_of_a_task_that_cannot_be_made(same):
    def run(aio):
        with fresh_loop(aio) as loop:
            def factory(loop, coro, **kwargs):
                coro.close()
                raise KeyboardInterrupt
            loop.set_task_factory(factory)
            future = aio.run_coroutine_threadsafe(aio.sleep(0), loop)
            try:
                spin(loop)
            except KeyboardInterrupt:
                return [future.done(), loop.set_task_factory(None)]
    same(run)


def test_order_of_run_coroutine_threadsafe(same):
    def run(aio):
        log = []

        async def main(name):
            log.append([name, "begins"])
            await aio.sleep(0)
            log.append([name, "ends"])
        with fresh_loop(aio) as loop:
            loop.call_soon(log.append, "before")
            for name in "ab":
                aio.run_coroutine_threadsafe(main(name), loop).add_done_callback(lambda f, name=name: log.append([name, "done", f.done()]))
            loop.call_soon(log.append, "after")
            for _ in range(6):
                spin(loop)
                log.append("tick")
        return log
    same(run)


def test_nothing_is_kept(aio):
    class Result:
        pass
    with fresh_loop(aio) as loop:
        async def main():
            return await aio.to_thread(Result)
        ref = weakref.ref(loop.run_until_complete(main()))
        source = concurrent.futures.Future()
        wrapped = aio.wrap_future(source, loop=loop)
        source.set_result(Result())
        refs = [ref, weakref.ref(loop.run_until_complete(wrapped)), weakref.ref(wrapped)]
        future = aio.run_coroutine_threadsafe(main(), loop)
        spin_until(loop, future.done)
        refs.append(weakref.ref(future.result()))
        del source, wrapped, future
        loop.run_until_complete(loop.shutdown_default_executor())
        gc.collect()
        assert [r() for r in refs] == [None] * 4


@pytest.mark.skipif(PY < (3, 12), reason="eager tasks came with 3.12")
def test_an_eager_task_of_another_thread(same):
    def run(aio):
        with fresh_loop(aio) as loop:
            loop.set_task_factory(aio.eager_task_factory)

            async def main():
                return 5
            future = aio.run_coroutine_threadsafe(main(), loop)
            got = []
            for _ in range(3):
                spin(loop)
                got.append(future.done())
            return got, future.result(1)
    same(run)
