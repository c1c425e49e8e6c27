"""Cases for growth.py: futures, tasks, and what awaits them."""
import asyncio
import contextvars
import functools
import gc
import sys
import weakref

from cases import REPEAT, on_loop, swallow


# ---- futures

@on_loop
async def future_result(m, loop):
    for i in range(REPEAT):
        f = loop.create_future()
        f.set_result([i])
        assert await f == [i] and f.result() == [i]


@on_loop
async def future_exception(m, loop):
    for i in range(REPEAT):
        f = loop.create_future()
        f.set_exception(ValueError(i))
        await swallow(f)
        assert f.exception().args == (i,)


@on_loop
async def future_never_retrieved(m, loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    for i in range(REPEAT):
        f = loop.create_future()
        f.set_exception(ValueError(i))
        del f
    assert len(reports) == REPEAT
    loop.set_exception_handler(None)


@on_loop
async def future_cancel(m, loop):
    for i in range(REPEAT):
        f = loop.create_future()
        f.cancel(msg=f"m{i}")
        await swallow(f)


@on_loop
async def future_waits(m, loop):
    for _ in range(REPEAT):
        f = loop.create_future()
        loop.call_soon(f.set_result, object())
        await f


@on_loop
async def future_callbacks(m, loop):
    context = contextvars.copy_context()
    for _ in range(REPEAT):
        f = loop.create_future()
        one, two = (lambda f: None), (lambda f: None)
        f.add_done_callback(one)
        f.add_done_callback(two, context=context)
        f.add_done_callback(one)
        assert f.remove_done_callback(one) == 2
        assert len(f._callbacks) == 1
        f.set_result(None)
        await m.sleep(0)
        pending = loop.create_future()
        pending.add_done_callback(two)


@on_loop
async def future_attributes(m, loop):
    for _ in range(REPEAT):
        f = loop.create_future()
        f.extra = [f]
        repr(f), f._callbacks, f._state, f._loop, f.get_loop(), f._source_traceback, f._cancel_message, f._log_traceback
        f._asyncio_future_blocking = True
        w = weakref.ref(f)
        del f
    gc.collect()
    assert w() is None


@on_loop
async def future_iterators(m, loop):
    for _ in range(REPEAT):
        f = loop.create_future()
        it = iter(f)
        next(it)
        f.set_result([1])
        try:
            next(it)
        except StopIteration as e:
            assert e.value == [1]
        it = loop.create_future().__await__()
        next(it)
        it.close()
        it = loop.create_future().__await__()
        next(it)
        try:
            it.throw(KeyError("thrown in"))
        except KeyError:
            pass


@on_loop
async def future_errors(m, loop):
    for _ in range(REPEAT):
        f = loop.create_future()
        for attempt in (f.result, f.exception, lambda: f.set_exception(3), lambda: f.add_done_callback(), lambda: m.Future(loop=3), lambda: next(iter(f)) and next(iter(f))):
            try:
                attempt()
            except (asyncio.InvalidStateError, TypeError, AttributeError, RuntimeError):
                pass
        f.set_result(None)
        try:
            f.set_result(None)
        except asyncio.InvalidStateError:
            pass
        try:
            f = loop.create_future()
            f.set_exception(StopIteration)      # an error up to 3.11, later it is replaced
            f.exception()
        except TypeError:
            pass


@functools.cache                                # CPython's own tables grow with each class that comes and goes
def future_class(m):
    class Mine(m.Future):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.more = [self]
    return Mine


@on_loop
async def future_subclass(m, loop):
    Mine = future_class(m)
    for i in range(REPEAT):
        f = Mine(loop=loop)
        f.note = f
        loop.call_soon(f.set_result, i)
        assert await f == i
        Mine(loop=loop).cancel()


@on_loop
async def foreign_future(m, loop):
    """asyncio's own future, awaited by a task of the module's."""
    for i in range(REPEAT):
        f = asyncio.Future(loop=loop)
        loop.call_soon(f.set_result, i)
        assert await f == i


# ---- tasks

@on_loop
async def task_await(m, loop):
    async def child(i):
        await m.sleep(0)
        return [i]
    for i in range(REPEAT):
        assert await m.create_task(child(i)) == [i]
        assert await loop.create_task(child(i), name=f"t{i}", context=contextvars.copy_context()) == [i]


@on_loop
async def task_raises(m, loop):
    async def child():
        await m.sleep(0)
        raise ValueError("raised")
    for _ in range(REPEAT):
        t = m.create_task(child())
        await swallow(t)
        assert isinstance(t.exception(), ValueError)


@on_loop
async def task_cancel(m, loop):
    async def child(gate):
        await gate
    for _ in range(REPEAT):
        t = m.create_task(child(loop.create_future()))
        await m.sleep(0)
        t.cancel("enough")
        await swallow(t)
        assert t.cancelled()
        early = m.create_task(child(loop.create_future()))
        early.cancel()
        await swallow(early)


@on_loop
async def task_cancel_suppressed(m, loop):
    async def child():
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            m.current_task().uncancel()
            return 1
    for _ in range(REPEAT):
        t = m.create_task(child())
        await m.sleep(0)
        t.cancel()
        assert await t == 1 and t.cancelling() == 0


@on_loop
async def task_pending_dropped(m, loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    for _ in range(REPEAT):
        f = loop.create_future()
        t = m.create_task(swallow(f))
        await m.sleep(0)
        del t, f
        gc.collect(0)
    gc.collect()
    assert len(reports) == REPEAT
    loop.set_exception_handler(None)


@on_loop
async def task_bad_yield(m, loop):
    class Nonsense:
        def __await__(self):
            yield 42

    async def child():
        await Nonsense()

    async def itself():
        await m.current_task()
    for _ in range(REPEAT):
        for f in (child, itself):
            t = m.create_task(f())
            await swallow(t)
            assert isinstance(t.exception(), RuntimeError)


@on_loop
async def task_not_a_coroutine(m, loop):
    for bad in (None, 3, len, loop.create_future()):
        for _ in range(REPEAT):
            try:
                loop.create_task(bad)
            except TypeError:
                pass


@on_loop
async def task_attributes(m, loop):
    for i in range(REPEAT):
        f = loop.create_future()
        t = m.create_task(swallow(f))
        await m.sleep(0)
        t.set_name(f"n{i}")
        t.extra = t
        repr(t), t._fut_waiter, t._coro, t._must_cancel, t.get_name(), t.get_stack(), t._callbacks, f._callbacks
        if hasattr(t, "get_context"):
            t.get_context()
        assert t.get_coro() is t._coro and t in m.all_tasks() and m.current_task() is not t
        f.set_result(None)
        await t


@functools.cache
def task_class(m):
    class Mine(m.Task):
        def cancel(self, msg=None):
            self.asked = [self]
            return super().cancel(msg=msg)
    return Mine


@on_loop
async def task_subclass(m, loop):
    Mine = task_class(m)
    for _ in range(REPEAT):
        t = Mine(swallow(loop.create_future()), loop=loop)
        await m.sleep(0)
        t.cancel()
        await t


@on_loop
async def task_factory(m, loop):
    async def child():
        await m.sleep(0)
    loop.set_task_factory(lambda loop, coro, **kwargs: m.Task(coro, loop=loop, **kwargs))
    for _ in range(REPEAT):
        await loop.create_task(child())
    loop.set_task_factory(None)


@on_loop
async def task_eager(m, loop):
    async def at_once(i):
        return [i]

    async def later(i):
        await m.sleep(0)
        return [i]

    async def fails():
        raise KeyError("at once")
    if sys.version_info < (3, 12):
        return
    loop.set_task_factory(m.eager_task_factory)
    for i in range(REPEAT):
        assert await loop.create_task(at_once(i)) == [i]
        assert await loop.create_task(later(i)) == [i]
        await swallow(loop.create_task(fails()))
    loop.set_task_factory(None)


@on_loop
async def foreign_task(m, loop):
    async def child():
        f = loop.create_future()
        loop.call_soon(f.set_result, None)
        await f
        await m.sleep(0)
    for _ in range(REPEAT):
        await asyncio.Task(child(), loop=loop)


@on_loop
async def many_tasks(m, loop):
    async def child():
        for _ in range(3):
            await m.sleep(0)
    for t in [m.create_task(child()) for _ in range(10 * REPEAT)]:
        await t


@on_loop
async def gather_wait_shield(m, loop):
    async def child(i):
        await m.sleep(0)
        if i == 2:
            raise ValueError(i)
        return i
    for _ in range(REPEAT):
        await m.gather(*(child(i) for i in range(4)), return_exceptions=True)
        await swallow(m.gather(*(child(i) for i in range(4))))
        await m.sleep(0)
        tasks = [m.create_task(child(i)) for i in (0, 1)]
        await m.wait(tasks, timeout=1)
        await m.shield(child(0))
        for next_one in m.as_completed([child(0), child(1)]):
            await next_one


@on_loop
async def timeouts(m, loop):
    for _ in range(REPEAT):
        await m.wait_for(m.sleep(0), 5)
        await swallow(m.wait_for(loop.create_future(), 0.0001))
        async with m.timeout(5):
            await m.sleep(0)
        try:
            async with m.timeout(0):
                await m.sleep(1)
        except TimeoutError:
            pass


@on_loop
async def task_group(m, loop):
    async def child(fail):
        await m.sleep(0)
        if fail:
            raise ValueError
    for _ in range(REPEAT):
        async with m.TaskGroup() as g:
            g.create_task(child(False))
            g.create_task(child(False))
        try:
            async with m.TaskGroup() as g:
                g.create_task(child(True))
                g.create_task(swallow(loop.create_future()))
        except ExceptionGroup:
            pass


@on_loop
async def locks_and_queues(m, loop):
    lock, event, condition, semaphore = m.Lock(), m.Event(), m.Condition(), m.Semaphore(1)
    queue = m.Queue(1)

    async def contender():
        async with lock, semaphore:
            await m.sleep(0)

    async def waiter():
        async with condition:
            await condition.wait()

    async def producer():
        for i in range(5):
            await queue.put([i])
    for _ in range(REPEAT):
        event.clear()
        tasks = [m.create_task(c) for c in (contender(), contender(), waiter(), event.wait(), producer())]
        for i in range(5):
            assert await queue.get() == [i]
        for _ in range(8):
            await m.sleep(0)
        event.set()
        async with condition:
            condition.notify_all()
        await m.gather(*tasks)
        getter = m.create_task(queue.get())
        await m.sleep(0)
        getter.cancel()
        await swallow(getter)
