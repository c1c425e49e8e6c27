"""Queue, PriorityQueue, LifoQueue: asyncio's and pyasync's do the same."""
import asyncio
import collections
import gc
import math
import types
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs_of_tasks import ignore_register_random, limited, programs, quick, trace_of
from support import PY, fresh_loop, outcome, plain, scrub

pytestmark = ignore_register_random
CLASSES = ("Queue", "PriorityQueue", "LifoQueue")
shuts_down = pytest.mark.skipif(PY < (3, 13), reason="shutdown() is new in 3.13")


def scenario(main):
    def run(aio, *args):
        with fresh_loop(aio) as loop:
            return plain(loop.run_until_complete(main(aio, *args)))
    return run


# ---- random programs ----

async def use_queue(queue, name, *args):
    if name in ("put", "get", "join"):
        return await getattr(queue, name)(*args)
    if name == "look":
        return [queue.qsize(), queue.empty(), queue.full(), queue.maxsize, len(queue._getters), len(queue._putters),
                queue._unfinished_tasks, queue._finished.is_set(), str(queue)]
    return getattr(queue, name)(*args)


actions = [limited("get"), st.tuples(st.just("put"), st.integers(0, 9)), st.tuples(st.just("put_nowait"), st.integers(0, 9)),
           st.tuples(st.sampled_from(["get_nowait", "task_done", "look"])), limited("join")]
if PY >= (3, 13):
    actions.append(st.tuples(st.just("shutdown"), st.booleans()))


@quick
@given(program=programs(*actions), name=st.sampled_from(CLASSES), size=st.integers(0, 3))
def test_queue_programs(same, program, name, size):
    same(trace_of, lambda aio: getattr(aio, name)(size), use_queue, program)


@quick
@given(program=programs(*actions[:5]), size=st.integers(1, 2))
def test_queue_programs_without_shutdown(same, program, size):
    same(trace_of, lambda aio: aio.Queue(size), use_queue, program)


# ---- what they are ----

@pytest.mark.parametrize("name", CLASSES)
def test_they_are_asyncios(aio, name):
    cls, original = getattr(aio, name), getattr(asyncio, name)
    queue = cls()
    assert isinstance(queue, original) and isinstance(queue, aio.Queue) and issubclass(cls, original)
    assert cls.__doc__ == original.__doc__ and getattr(aio.queues, name) is cls
    assert isinstance(cls[int], types.GenericAlias) and cls[int]() is not None
    queue.attribute = 1
    assert queue.attribute == 1 and weakref.ref(queue)() is queue
    queue.itself = queue
    gone = weakref.ref(queue)
    del queue
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", CLASSES)
def test_repr_and_arguments(same, name):
    def main(aio):
        cls = getattr(aio, name)
        queue = cls(maxsize=2)
        queue.put_nowait("a")
        return [scrub(repr(queue)), str(queue), outcome(cls, 1, 2, text=False), outcome(cls, nope=1, text=False),
                outcome(queue.put, text=False), outcome(queue.put_nowait, 1, 2, text=False), outcome(queue.put_nowait, item=4),
                outcome(queue.put_nowait, 3), type(queue._queue).__name__, sorted(queue._queue, key=str)]
    same(main)


def test_order(same):
    async def main(aio):
        log = []
        for name in CLASSES:
            queue = getattr(aio, name)()
            for item in (3, 1, 2, 1):
                await queue.put(item)
            log.append([await queue.get() for _ in range(4)])
        queue = aio.PriorityQueue()
        queue.put_nowait(1)
        log += [outcome(queue.put_nowait, "x", text=False), queue.qsize(), queue._unfinished_tasks]
        return log
    same(scenario(main))


@pytest.mark.parametrize("size", [math.inf, 1.5, True, -1, 2 ** 80, -2 ** 80, None, "2"])
def test_any_maxsize(same, size):
    async def main(aio):
        queue = aio.Queue(size)
        return [outcome(queue.full), outcome(queue.put_nowait, 1), outcome(queue.put_nowait, 2), outcome(queue.full),
                queue.qsize(), queue.maxsize, queue._maxsize]
    same(scenario(main))


def test_maxsize_can_be_changed(same):
    async def main(aio):
        queue = aio.Queue(1)
        queue.put_nowait(1)
        log = [queue.full()]
        queue._maxsize = 3
        log += [queue.full(), queue.maxsize, outcome(queue.put_nowait, 2)]
        queue._maxsize = 0
        return log + [queue.full(), outcome(setattr, queue, "maxsize", 3, text=False)]
    same(scenario(main))


# ---- overriding ----

def test_a_queue_with_its_own_container(same):
    async def main(aio):
        log = []

        class Unique(aio.Queue):
            def _init(self, maxsize):
                log.append(("init", maxsize))
                self._queue = {}

            def _put(self, item):
                self._queue[item] = None

            def _get(self):
                return self._queue.popitem()[0]
        queue = Unique(2)
        for item in "aab":
            await queue.put(item)
        log += [queue.qsize(), queue.full(), outcome(queue.put_nowait, "c"), queue._unfinished_tasks, await queue.get(),
                scrub(repr(queue)), queue.get_nowait(), outcome(queue.get_nowait)]
        return log
    same(scenario(main))


def test_a_queue_with_its_own_methods(same):
    async def main(aio):
        log = []

        class Queue(aio.PriorityQueue):
            def qsize(self):
                log.append("qsize")
                return super().qsize()

            def empty(self):
                log.append("empty")
                return super().empty()

            def full(self):
                log.append("full")
                return super().full()

            def put_nowait(self, item):
                log.append("put_nowait")
                return super().put_nowait(item) or "put"

            def get_nowait(self):
                log.append("get_nowait")
                return super().get_nowait()

            def _wakeup_next(self, waiters):
                log.append(("wakeup", len(waiters)))
                super()._wakeup_next(waiters)
        queue = Queue(1)
        log.append(await queue.put(1))
        task = asyncio.ensure_future(queue.put(0))
        await asyncio.sleep(0)
        log += [await queue.get(), await queue.get(), await task]
        return log
    same(scenario(main))


def test_a_queue_with_its_own_get(same):
    """As programs do that copy asyncio's code and change it: on the private attributes."""
    async def main(aio):
        class Queue(aio.Queue):
            async def get(self):
                while self.empty():
                    getter = asyncio.get_running_loop().create_future()
                    self._getters.append(getter)
                    try:
                        await getter
                    except BaseException:
                        getter.cancel()
                        try:
                            self._getters.remove(getter)
                        except ValueError:
                            pass
                        raise
                item = self._queue.popleft()
                self._wakeup_next(self._putters)
                return item
        queue = Queue(1)
        tasks = [asyncio.ensure_future(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        log = [len(queue._getters), queue._unfinished_tasks]
        await queue.put(1)
        await queue.put(2)
        log += [await tasks[1], await tasks[2], scrub(repr(queue))]
        return log
    same(scenario(main))


def test_the_items_are_a_deque(same):
    async def main(aio):
        queue = aio.Queue()
        queue._queue.append(5)
        queue._queue.appendleft(4)
        log = [type(queue._queue) is collections.deque, await queue.get(), queue.qsize()]
        queue._queue.clear()
        log += [queue.empty(), outcome(queue.get_nowait)]
        queue._queue = [1, 2]
        log += [queue.qsize(), outcome(queue.put_nowait, 3), outcome(queue.get_nowait)]
        queue._queue = collections.deque([7])
        log += [queue.get_nowait(), list(queue._queue)]
        return log
    same(scenario(main))


def test_a_subclass_that_does_not_call_init(same):
    async def main(aio):
        class Queue(aio.Queue):
            def __init__(self):
                pass
        queue = Queue()
        return [outcome(queue.qsize, text=False), outcome(queue.put_nowait, 1, text=False), outcome(queue.empty, text=False)]
    same(scenario(main))


# ---- waiting ----

def test_an_item_is_not_lost(same):
    """A getter that is cancelled after it was woken passes the turn on."""
    async def main(aio):
        queue = aio.Queue()
        tasks = [asyncio.ensure_future(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.put_nowait("item")
        tasks[0].cancel()
        await asyncio.sleep(0.001)
        log = [t.done() for t in tasks] + [await tasks[1], len(queue._getters)]
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return log + [len(queue._getters)]
    same(scenario(main))


def test_closed_while_it_waits(aio, run):
    async def main():
        queue = aio.Queue(1)
        getter = queue.get()
        getter.send(None)
        assert len(queue._getters) == 1
        getter.close()
        assert len(queue._getters) == 0
        queue.put_nowait(1)
        putter = queue.put(2)
        putter.send(None)
        del putter
        gc.collect()
        assert len(queue._putters) == 0
    run(main())


def test_items_are_let_go(aio, run):
    class Item:
        pass

    async def main():
        queue = aio.Queue()
        item = Item()
        gone = weakref.ref(item)
        await queue.put(item)
        del item
        await queue.get()
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None
    run(main())


@pytest.mark.parametrize("item", [None, (), (1, 2), StopIteration(3), ValueError("x"), ValueError, Ellipsis])
def test_any_item(aio, run, item):
    async def main():
        queue = aio.Queue(1)
        await queue.put(item)
        assert await queue.get() is item
        await queue.put(item)
        assert await asyncio.create_task(queue.get()) is item
        task = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        await queue.put(item)
        assert await task is item
    run(main())


def test_join_and_task_done(same):
    async def main(aio):
        queue = aio.Queue()
        await queue.join()
        for i in range(3):
            queue.put_nowait(i)
        joined = asyncio.ensure_future(queue.join())
        log = []
        for i in range(3):
            await asyncio.sleep(0)
            log.append([joined.done(), queue._unfinished_tasks, queue._finished.is_set()])
            queue.task_done()
        await joined
        log += [queue._finished.is_set(), outcome(queue.task_done), type(queue._finished).__name__]
        queue.put_nowait(1)
        return log + [queue._finished.is_set()]
    same(scenario(main))


@shuts_down
@pytest.mark.parametrize("immediate", [False, True])
def test_shutdown(same, immediate):
    async def main(aio):
        queue = aio.Queue(2)
        getters = [asyncio.ensure_future(queue.get()) for _ in range(2)]
        await asyncio.sleep(0)
        queue.shutdown(immediate)
        log = [plain(await asyncio.gather(*getters, return_exceptions=True)), scrub(repr(queue)), queue._is_shutdown]
        queue = aio.Queue(2)
        putters = [asyncio.ensure_future(queue.put(i)) for i in range(4)]
        joined = asyncio.ensure_future(queue.join())
        await asyncio.sleep(0)
        queue.shutdown(immediate)
        log += [plain(await asyncio.gather(*putters, return_exceptions=True)), scrub(repr(queue)), queue.qsize()]
        log += [outcome(queue.put_nowait, 1), outcome(queue.get_nowait), outcome(queue.get_nowait), outcome(queue.get_nowait)]
        for _ in range(2):
            log.append(outcome(queue.task_done))
        await joined
        return log
    same(scenario(main))


def test_bound_to_the_loop_that_waits(aio):
    queue = aio.Queue()
    assert queue._loop is None

    async def wait():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 0.001)
    with fresh_loop(aio) as loop:
        loop.run_until_complete(wait())
        assert queue._loop is loop
    with fresh_loop(aio) as loop:
        with pytest.raises(RuntimeError, match="is bound to a different event loop"):
            loop.run_until_complete(wait())


def test_on_the_other_modules_loop(aio):
    import pyasync
    other = asyncio if aio is pyasync else pyasync

    async def main():
        queue, got = aio.Queue(1), []

        async def work():
            while True:
                got.append(await queue.get())
                queue.task_done()
        tasks = [asyncio.create_task(work()) for _ in range(3)]
        for i in range(20):
            await queue.put(i)
        await queue.join()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(got) == list(range(20))
    with fresh_loop(other) as loop:
        loop.run_until_complete(main())


def test_a_class_of_both_orders_takes_the_first(same):
    def scenario(aio):
        class First(aio.LifoQueue, aio.PriorityQueue):
            pass

        class Second(aio.PriorityQueue, aio.LifoQueue):
            pass
        with fresh_loop(aio):
            found = []
            for queue in (First(), Second()):
                for item in (2, 3, 1):
                    queue.put_nowait(item)
                found.append([queue.get_nowait() for _ in range(3)])
            return found
    assert same(scenario) == [[1, 3, 2], [1, 2, 3]]
