"""The traps that the design names (its decision D2): the bridge to BaseEventLoop. Each was seen to break something, so each has a
test. asyncio itself is free of them; its half checks the tests."""
import abc
import asyncio
import gc
import threading
import weakref
from unittest import mock

import pytest

from support import callback, loop_class, outcome, spin


@pytest.mark.parametrize("name,value", [("_debug", True), ("_stopping", True), ("slow_callback_duration", 5.0), ("_clock_resolution", 0.5),
                                        ("_internal_fds", 3), ("_timer_cancelled_count", 2), ("_task_factory", callback),
                                        ("_current_handle", None), ("_coroutine_origin_tracking_enabled", False), ("_exception_handler", callback),
                                        ("_default_executor", None), ("_executor_shutdown_called", True), ("_asyncgens_shutdown_called", True)])
def test_d2_members_are_writable(aio, name, value):
    """BaseEventLoop.__init__ assigns them, and others do; what is written is read again and has its effect."""
    loop = aio.new_event_loop()
    setattr(loop, name, value)
    assert getattr(loop, name) == value
    if name == "_debug":
        assert loop.get_debug() is True
    if name == "_task_factory":
        assert loop.get_task_factory() is callback
        loop._task_factory = None
    if name == "_exception_handler":
        assert loop.get_exception_handler() is callback
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


def test_d2_thread_id_and_closed(aio, loop):
    """The same fields whether C or inherited Python code looks."""
    async def main():
        assert asyncio.BaseEventLoop.is_running(loop) and loop.is_running() and loop._thread_id == threading.get_ident()
    loop.run_until_complete(main())
    assert not asyncio.BaseEventLoop.is_running(loop) and not asyncio.BaseEventLoop.is_closed(loop)
    assert asyncio.BaseEventLoop.get_debug(loop) is False
    asyncio.BaseEventLoop.set_debug(loop, True)
    assert loop.get_debug() is True


def test_d2_slow_callback_duration_set_later(aio, loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.call_soon(callback)
    spin(loop)
    assert any("Executing <Handle callback()" in r.getMessage() for r in caplog.records)


def test_d2_unbound_base_methods_work_on_a_loop(aio, loop):
    """The methods of BaseEventLoop that would write where nobody looks, called by name on the base."""
    seen = []
    loop._add_callback(aio.Handle(seen.append, ("added",), loop))
    loop._call_soon(seen.append, ("soon",), None)
    spin(loop)
    assert seen == ["added", "soon"]
    loop._write_to_self()
    spin(loop)
    loop._check_closed()
    loop._check_thread()
    t = loop.call_later(100, callback)
    loop._timer_handle_cancelled(t)
    t.cancel()


def test_d2_overrides_come_and_go(aio, loop):
    """An override may be installed at any time, on the instance, in the class or in a base, and be removed again."""
    calls = []

    class Mixin:
        pass

    class Loop(Mixin, type(loop)):
        pass
    own = Loop()
    try:
        def noted(original):
            def call_soon(*args, **kwargs):
                calls.append(1)
                return original(*args, **kwargs)
            return call_soon

        def count():
            f = own.create_future()
            f.add_done_callback(callback)
            before = len(calls)
            f.set_result(1)
            spin(own, 1)
            return len(calls) - before
        assert count() == 0
        own.call_soon = noted(own.call_soon)
        assert count() >= 1
        del own.call_soon
        assert count() == 0
        own.__dict__["call_soon"] = noted(own.call_soon)
        assert count() >= 1
        own.__dict__.pop("call_soon")
        assert count() == 0
        original = Loop.call_soon
        Loop.call_soon = lambda self, *args, **kwargs: (calls.append(1), original(self, *args, **kwargs))[1]
        assert count() >= 1
        del Loop.call_soon
        assert count() == 0
        Mixin.call_soon = lambda self, *args, **kwargs: (calls.append(1), super(Mixin, self).call_soon(*args, **kwargs))[1]
        assert count() >= 1
        del Mixin.call_soon
        assert count() == 0
        with mock.patch.object(Loop, "call_soon", lambda self, *args, **kwargs: (calls.append(1), original(self, *args, **kwargs))[1]):
            assert count() >= 1
        assert count() == 0
    finally:
        own.close()


def test_d2_a_swapped_dict_and_class(aio):
    """An override that arrives by assigning __dict__ or __class__."""
    loop = aio.new_event_loop()
    calls = []

    class Other(type(loop)):
        def time(self):
            calls.append(1)
            return super().time()
    try:
        loop.__class__ = Other
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert calls
        loop.__class__ = Other.__mro__[1]
        n = len(calls)
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert len(calls) == n
    finally:
        loop.close()


def test_d2_a_clock_replaced_while_running(aio, loop):
    seen = []

    async def main():
        now = loop.time()
        loop.call_later(1000, seen.append, "far")
        await aio.sleep(0)
        loop.time = lambda: now + 2000
        await aio.sleep(0)
        await aio.sleep(0)
        assert seen == ["far"]
        del loop.time
    loop.run_until_complete(main())


def test_d2_run_until_complete_registers_asyncios_callback(aio, loop):
    f = loop.create_future()
    loop.call_soon(lambda: (seen.append(list(f._callbacks)), f.set_result(1)))
    seen = []
    loop.run_until_complete(f)
    assert [cb for cb, _ in seen[0]] == [asyncio.base_events._run_until_complete_cb]


def test_d2_slots_and_multiple_inheritance(aio):
    class Mixin:
        def extra(self):
            return "extra"

    class Loop(Mixin, loop_class(aio), abc.ABC):
        pass
    loop = Loop()
    assert loop.extra() == "extra" and loop.run_until_complete(aio.sleep(0, 1)) == 1
    loop.close()


def test_d2_init_not_called(aio):
    """A subclass that forgets super().__init__(): errors, no crash."""
    if aio is asyncio:
        return

    class Loop(loop_class(aio)):
        def __init__(self):
            pass

        def __del__(self):
            pass
    loop = Loop()
    for what in (lambda: loop.call_soon(callback), lambda: loop.call_later(1, callback), loop.run_forever, lambda: loop.add_reader(0, callback),
                 lambda: loop.call_soon_threadsafe(callback), loop.create_future, loop.is_running, loop.is_closed, loop.close, lambda: repr(loop),
                 loop.stop, loop._run_once, lambda: loop.run_until_complete(1)):
        assert outcome(what)[0] in ("returned", "raised")
    ref = weakref.ref(loop)
    del loop, what
    gc.collect()
    assert ref() is None


def test_d2_init_twice(aio):
    """A second __init__ starts over without leaking descriptors or losing memory."""
    if aio is asyncio:
        return                          # leaks its self-pipe
    loop = aio.new_event_loop()
    loop.call_soon(callback)
    outcome(loop.__init__)
    spin(loop)
    loop.close()
