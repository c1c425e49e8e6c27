"""User code that re-enters, drops the last reference, closes the loop or initialises live objects again, from wherever it is called."""
import asyncio
import errno
import gc
import selectors
import socket
import sys

import pytest

from support import PY


# --- transports and descriptors ----------------------------------------------------------------------------------------

def test_closing_a_loop_drops_a_transport_that_never_started(aio):
    loop = aio.new_event_loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    loop._make_socket_transport(here, asyncio.Protocol())
    with pytest.warns(ResourceWarning):   # the transport lies among the callbacks that close() forgets
        loop.close()
        gc.collect()
    here.close()
    there.close()


@pytest.mark.parametrize("call", ["add_reader", "add_writer", "remove_reader", "_watch_fd"])
def test_a_selector_that_closes_the_loop(call):
    """asyncio's own loop breaks in its Python code; ours must not do worse than raise."""
    pyasync = pytest.importorskip("pyasync")

    class Closing(selectors.SelectSelector):
        armed = False

        def __getattribute__(self, name):
            if name in ("register", "modify", "unregister") and Closing.armed:
                Closing.armed = False
                loop.close()
                return lambda *args: None
            return super().__getattribute__(name)

    here, there = socket.socketpair()
    here.setblocking(False)
    loop = pyasync.EventLoop(Closing())
    if call not in ("add_reader", "_watch_fd"):
        loop.add_reader(here, print)
    Closing.armed = True
    with pytest.raises(RuntimeError, match="closed"):
        if call == "_watch_fd":
            loop._watch_fd(here.fileno(), 1, None, None)
        else:
            getattr(loop, call)(here, *[print] * call.startswith("add"))
    assert loop.is_closed()
    loop.close()
    here.close()
    there.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("call", ["add_reader", "add_writer", "_make_socket_transport"])
def test_a_transport_that_closes_the_loop_when_it_is_asked(call):
    pyasync = pytest.importorskip("pyasync")

    class Transport:
        def is_closing(self):
            loop.close()
            return True

    here, there = socket.socketpair()
    here.setblocking(False)
    loop = pyasync.EventLoop()
    transport = loop._transports[here.fileno()] = Transport()
    with pytest.raises(RuntimeError, match="closed"):
        if call == "_make_socket_transport":
            loop._make_socket_transport(here, asyncio.Protocol())
            loop._add_reader(here.fileno(), print)
        else:
            getattr(loop, call)(here, print)
    assert loop.is_closed() and transport.is_closing()
    here.close()
    there.close()


# --- the views ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("change", ["append", "clear"])
def test_ready_changes_while_a_handle_is_made(aio, change, debug):
    loop = aio.new_event_loop()

    async def coroutine():
        pass

    tasks = [loop.create_task(coroutine()) for _ in range(20)]
    loop.set_debug(debug)
    handle = aio.Handle(print, (), loop)
    calls = 0

    def collecting(phase, info):
        nonlocal calls
        if phase == "start" and calls < 20:
            calls += 1
            if change == "clear":
                loop._ready.clear()
            else:
                for _ in range(300):
                    loop._ready.append(handle)

    threshold = gc.get_threshold()
    gc.callbacks.append(collecting)
    gc.set_threshold(1)
    try:
        for i in range(20):
            if i < len(loop._ready):
                try:
                    assert isinstance(loop._ready[i], aio.Handle)
                except IndexError:
                    assert change == "clear"
        try:
            list(loop._ready)
        except RuntimeError as exc:
            assert "mutated" in str(exc)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collecting)
    loop._ready.clear()
    for task in tasks:
        task._log_destroy_pending = False
        task.get_coro().close()
    loop.close()


# --- futures -----------------------------------------------------------------------------------------------------------

again = pytest.mark.skipif(PY >= (3, 14), reason="a future is initialised once only")


class Dropped:
    """Calls `action` when it goes away."""

    def __init__(self, action):
        self.action = action

    def __del__(self):
        self.action()


@again
def test_init_again_is_seen_by_what_it_drops(aio):
    loop = aio.new_event_loop()
    seen = []

    def look():
        for use in (lambda: next(waiting), future.result, future.exception, future.done, lambda: repr(future)):
            try:
                seen.append(use())
            except Exception as exc:
                seen.append(type(exc).__name__)

    future = aio.Future(loop=loop)
    waiting = iter(future)
    future.set_result(Dropped(look))
    aio.Future.__init__(future, loop=loop)
    assert len(seen) == 5
    future.set_result(1)
    assert future.result() == 1
    loop.close()


@again
def test_init_again_inside_init_again(aio):
    loop = aio.new_event_loop()

    def start_over():
        aio.Future.__init__(future, loop=loop)
        if not future.done():
            future.set_result(3)

    future = aio.Future(loop=loop)
    future.set_result(Dropped(start_over))
    aio.Future.__init__(future, loop=loop)
    assert future.done() in (True, False) and "Future" in repr(future)
    if not future.done():
        future.set_result(4)
    assert future.result() in (3, 4)
    loop.close()


@again
def test_init_again_while_an_exception_is_delivered(aio):
    class Loop(aio.SelectorEventLoop if aio is asyncio else aio.EventLoop):
        def call_soon(self, *args, **kwargs):
            aio.Future.__init__(future, loop=self)
            return super().call_soon(*args, **kwargs)

    loop = Loop()
    future = aio.Future(loop=loop)
    future.add_done_callback(print)
    future.set_exception(ValueError("wrong"))
    assert not future.done()
    if aio is asyncio:
        future._log_traceback = False     # it would report an exception that is not there
    loop.close()
    del future
    gc.collect()


@again
def test_an_exception_class_that_undoes_the_future():
    """asyncio's future goes on without a loop here; ours says so."""
    aio = pytest.importorskip("pyasync")

    class Stop(StopIteration):
        def __init__(self):
            asyncio.set_event_loop(None)
            with pytest.raises(RuntimeError):
                aio.Future.__init__(future)

    loop = aio.new_event_loop()
    future = aio.Future(loop=loop)
    with pytest.raises(RuntimeError, match="not initialized"):
        future.set_exception(Stop)
    loop.close()


# --- timers ------------------------------------------------------------------------------------------------------------

def test_a_timer_without_a_time(same):
    """Up to 3.12 it is due at once and holds up nobody; from 3.13 on asyncio's selector refuses to wait until then."""
    def main(aio):
        loop = aio.new_event_loop()
        called = []
        loop._scheduled.append(aio.TimerHandle(float("nan"), called.append, ("nan",), loop))
        loop.call_later(0.001, called.append, "other")
        loop.call_later(0.01, loop.stop)
        try:
            loop.run_forever()
        except ValueError as exc:
            called.append(str(exc))
        loop.close()
        return called
    assert same(main) == (["nan", "other"] if sys.version_info < (3, 13) else ["cannot convert float NaN to integer"])


# --- descriptors -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [100_000_000, 1_000_000_000])
def test_a_large_number_that_is_no_descriptor(aio, number):
    loop = aio.new_event_loop()
    for add in (loop.add_reader, loop.add_writer):
        with pytest.raises(OSError) as info:
            add(number, print)
        assert info.value.errno == errno.EBADF
    loop.close()


@pytest.mark.skipif(PY < (3, 12), reason="no __buffer__ in Python")
@pytest.mark.parametrize("when", ["__buffer__", "__release_buffer__"])
def test_data_that_loses_the_connection_it_is_written_to(when):
    """asyncio's transport goes on with what it has not got any more and raises AttributeError."""
    pyasync = pytest.importorskip("pyasync")

    def lose():
        transport.abort()
        transport._call_connection_lost(None)

    class Data(bytes):
        def __buffer__(self, flags):
            if when == "__buffer__":
                lose()
            return memoryview(bytearray(b"data"))

        def __release_buffer__(self, view):
            if when == "__release_buffer__":
                lose()
            view.release()

    loop = pyasync.EventLoop()
    here, there = socket.socketpair()
    here.setblocking(False)
    transport = loop._make_socket_transport(here, asyncio.Protocol())
    loop.call_soon(loop.stop)
    loop.run_forever()
    for _ in range(2):
        loop.call_soon(transport.write, Data(b"more"))
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert transport.is_closing()
    loop.close()
    there.close()
