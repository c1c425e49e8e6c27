"""Methods of the joined classes: called by the interpreter without ado, and replaced by a program wherever it likes."""
import operator
from unittest import mock

import pytest

import pyasync

CALLED_OFTEN = [("Event", "set"), ("Lock", "release"), ("Semaphore", "release"), ("Condition", "notify"), ("Queue", "put_nowait"),
                ("TaskGroup", "_abort"), ("Timeout", "reschedule"), ("EventLoop", "call_soon"), ("StreamReader", "feed_data"),
                ("StreamWriter", "write"), ("_core.SocketTransport", "write"), ("_core.DatagramTransport", "sendto"),
                ("tls._SSLProtocolTransport", "write")]


@pytest.mark.parametrize("name,method", CALLED_OFTEN)
def test_a_class_has_methods_made_for_exactly_it(name, method):
    cls = operator.attrgetter(name)(pyasync)
    assert vars(cls)[method].__objclass__ is cls


@pytest.mark.parametrize("name", ["PriorityQueue", "LifoQueue"])
def test_a_method_patched_in_a_class_is_found_by_those_derived_from_it(aio, run, name):
    calls = []

    async def main():
        original = aio.Queue.put_nowait

        def put_nowait(self, item):
            calls.append(item)
            return original(self, item)

        queue = getattr(aio, name)()
        await queue.put(1)
        with mock.patch.object(aio.Queue, "put_nowait", put_nowait):
            queue.put_nowait(2)
            await queue.put(3)
        await queue.put(4)
        queue.put_nowait(5)
    run(main())
    assert calls == [2, 3]


@pytest.mark.parametrize("where", ["class", "subclass", "instance"])
def test_a_replaced_release_is_called_while_it_is_replaced(aio, run, where):
    class Lock(aio.Lock):
        pass
    calls = []

    async def main():
        lock = Lock()
        target = {"class": aio.Lock, "subclass": Lock, "instance": lock}[where]
        original = aio.Lock.release

        def release(self=lock):
            calls.append(lock.locked())
            original(self)

        async with lock:
            pass
        with mock.patch.object(target, "release", release):
            async with lock:
                pass
            await lock.acquire()
            lock.release()
            async with lock:
                pass
        async with lock:
            pass
        assert not lock.locked()
    run(main())
    assert calls == [True] * 3


def test_a_method_wants_an_instance_of_its_class(aio):
    for wrong in (object(), aio.Lock()):
        with pytest.raises((TypeError, AttributeError)):
            aio.Event.set(wrong)

    class Event(aio.Event):
        pass
    event = Event()
    aio.Event.set(event)
    assert event.is_set()
