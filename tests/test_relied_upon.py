"""What real packages use of asyncio beyond its documented API. The packages that do so are named with each test."""
import asyncio
import contextlib
import gc
import inspect
import signal
import socket
import threading
import types
import typing
from unittest import mock

import pytest

from support import (
    EAGER, PY, PYTASK_IS_SEEN, FakeLoop, callback, fresh_loop, none, nonblocking_pair, outcome, rewritten_in_place, scrub, spin, spin_until)


# --- functions and modules ---------------------------------------------------------------------------------------------

@pytest.mark.skipif(not EAGER, reason="eager tasks came with 3.12")
def test_eager_task_factory_has_code(aio):
    """anyio and ddtrace read its __code__ at import."""
    assert isinstance(aio.eager_task_factory.__code__, types.CodeType)
    assert isinstance(asyncio.eager_task_factory.__code__, types.CodeType)
    assert isinstance(aio.create_eager_task_factory(aio.Task).__code__, types.CodeType)


def test_functions_used_by_name(aio, loop):
    """playwright, temporalio, pymongo; granian; nest_asyncio2; ray."""
    for name in ("_get_running_loop", "_set_running_loop"):
        assert callable(getattr(aio.events, name)) and callable(getattr(aio, name))
    for name in ("_enter_task", "_leave_task", "_register_task", "_unregister_task", "_PyTask", "_CTask"):
        assert callable(getattr(aio.tasks, name))
    if EAGER:
        assert callable(aio.tasks._swap_current_task)
    assert callable(aio.futures._chain_future) and callable(aio.base_events._run_until_complete_cb)
    aio._set_running_loop(loop)
    try:
        assert aio._get_running_loop() is aio.get_running_loop() is asyncio.get_running_loop() is loop
    finally:
        aio._set_running_loop(None)


def test_registry_attributes(aio, loop):
    """ddtrace reads tasks._scheduled_tasks.data and _eager_tasks."""
    t = loop.create_task(none())
    name = "_scheduled_tasks" if hasattr(asyncio.tasks, "_scheduled_tasks") else "_all_tasks"
    registry = getattr(asyncio.tasks, name)
    if PY < (3, 14):
        assert t in registry and t in list(registry) and any(r() is t for r in registry.data) and len(registry) >= 1
    if hasattr(asyncio.tasks, "_eager_tasks"):
        assert isinstance(asyncio.tasks._eager_tasks, set)
    assert t in asyncio.all_tasks(loop)
    spin(loop, 2)
    gc.collect()
    del t


def test_things_that_ddtrace_wraps(aio):
    """They exist, are functions or methods, and can be replaced on asyncio's module."""
    for target, name in ((asyncio.Handle, "_run"), (asyncio.BaseEventLoop, "create_task"), (asyncio.tasks._GatheringFuture, "__init__"),
                         (asyncio.tasks, "_wait"), (asyncio.tasks, "shield"), (asyncio.tasks, "as_completed"), (asyncio.TaskGroup, "create_task")):
        with mock.patch.object(target, name, getattr(target, name)):
            assert callable(getattr(target, name))


def test_a_shield_rewritten_in_place_is_called(aio, loop):
    """ddtrace gives the function code of its own."""
    seen = []

    async def main():
        return await aio.shield(aio.sleep(0, "r"))
    with rewritten_in_place(asyncio.tasks.shield, lambda arg: seen.append(asyncio.iscoroutine(arg))):
        assert loop.run_until_complete(main()) == "r" and seen == [True]
    assert loop.run_until_complete(main()) == "r" and seen == [True]


def test_a_wrapped_handle_run_is_called(aio, loop):
    """ddtrace wraps Handle._run to carry its context; the wrapper sees native handles when it wraps their class."""
    seen, original = [], aio.Handle._run
    if aio is asyncio:
        def run(self):
            seen.append(self._callback)
            return original(self)
        with mock.patch.object(aio.Handle, "_run", run):
            loop.call_soon(callback)
            spin(loop)
        assert callback in seen
    else:
        class Wrapped(aio.Handle):
            def _run(self):
                seen.append(self._callback)
                return super()._run()
        loop._ready.append(Wrapped(callback, (), loop)) if hasattr(loop._ready, "append") else loop._add_callback(Wrapped(callback, (), loop))
        spin(loop)
        assert seen == [callback]


# --- tasks -------------------------------------------------------------------------------------------------------------

def test_private_names_of_tasks(aio, loop, run):
    """anyio (_must_cancel, _fut_waiter), fsspec and aiomonitor (_coro), async_lru (_state, _exception), sentry
    (_source_traceback), nest_asyncio2 (_log_destroy_pending)."""
    f = loop.create_future()

    async def work():
        await f
        raise ValueError("x")
    c = work()
    t = loop.create_task(c)
    spin(loop)
    assert t._must_cancel is False and isinstance(t._fut_waiter, asyncio.Future) and t._fut_waiter is f and t._coro is c
    assert t._state == "PENDING" and t._exception is None and t._source_traceback is None and t._log_destroy_pending is True
    t._log_destroy_pending = False
    assert t._log_destroy_pending is False
    f.set_result(None)
    spin(loop)
    assert t._fut_waiter is None and t._state == "FINISHED" and isinstance(t._exception, ValueError)
    t.exception()


def test_waiting_for_a_task_is_seen_as_a_future(aio, loop):
    """anyio: isinstance(task._fut_waiter, asyncio.Future), for every kind of future there is."""
    async def wait(x):
        await x
    for make in (loop.create_future, lambda: asyncio.Future(loop=loop), lambda: asyncio.futures._PyFuture(loop=loop),
                 lambda: aio.Task(aio.sleep(100), loop=loop), lambda: asyncio.Task(aio.sleep(100), loop=loop), lambda: aio.gather(loop.create_future()),
                 lambda: aio.shield(loop.create_future())):
        async def made():
            return make()
        x = loop.run_until_complete(made())
        t = loop.create_task(wait(x))
        spin(loop, 2)
        assert asyncio.isfuture(t._fut_waiter)
        if not isinstance(x, asyncio.futures._PyFuture):
            assert isinstance(t._fut_waiter, asyncio.Future)
        assert not t._must_cancel
        t.cancel()
        spin(loop, 4)
        assert t.cancelled()


def test_callbacks_are_pairs_and_the_root_task_is_found(aio, loop, run):
    """anyio finds the root task by _run_until_complete_cb in _callbacks, each entry being (callback, context)."""
    def find_root():
        for task in asyncio.all_tasks():
            if task._callbacks and not task.done():
                for cb, context in task._callbacks:
                    if cb is asyncio.base_events._run_until_complete_cb or getattr(cb, "__module__", None) == "uvloop.loop":
                        return task

    async def main():
        me = aio.current_task()

        async def child():
            return find_root()
        assert find_root() is me
        return await aio.create_task(child()) is me
    assert run(main())


def test_assigning_coro_says_not_writable(aio, loop):
    """greenback looks for the words in the AttributeError."""
    t = loop.create_task(none())
    with pytest.raises(AttributeError) as info:
        t._coro = none
    assert "is not writable" in str(info.value)
    spin(loop, 2)


@pytest.mark.skipif(not PYTASK_IS_SEEN, reason="asyncio's own task groups and timeouts do not find such a task from 3.14 on")
def test_tasks_without_a_factory_of_ours(aio, loop, run):
    """anyio's tests use tasks._PyTask as a factory."""
    loop.set_task_factory(lambda loop, coro, **kw: asyncio.tasks._PyTask(coro, loop=loop, **kw))

    async def main():
        assert type(aio.current_task()) is asyncio.tasks._PyTask
        async with aio.TaskGroup() as g:
            t = g.create_task(aio.sleep(0.001, "r"))
        assert t.result() == "r"
        async with aio.timeout(5):
            await aio.sleep(0)
        with pytest.raises(TimeoutError):
            await aio.wait_for(aio.sleep(100), 0.001)
        return await aio.gather(aio.sleep(0, 1), aio.to_thread(lambda: 2))
    assert run(main()) == [1, 2]
    loop.set_task_factory(None)
    run(loop.shutdown_default_executor())


def test_isinstance_everywhere(aio, loop, run):
    """tornado, aiormq, aiohappyeyeballs, greenback, trio-asyncio, opentelemetry, jupyter_server, sanic."""
    async def main():
        assert isinstance(aio.current_task(), asyncio.Task)
        made = [loop.create_future(), aio.Future(), aio.ensure_future(none()), aio.create_task(none()), loop.create_task(none()), aio.gather(none()),
                aio.shield(none()), loop.run_in_executor(None, callback), aio.wrap_future(loop.run_in_executor(None, callback))]
        for f in made:
            assert isinstance(f, asyncio.Future) and asyncio.isfuture(f)
        assert sum(isinstance(f, asyncio.Task) for f in made) == 3
        made[0].set_result(1)
        made[1].set_result(2)
        await aio.wait(made)
    run(main())
    run(loop.shutdown_default_executor())


def test_subclasses_that_packages_define(aio, loop, run):
    """playwright's Future with Generic, aiomonitor's Task, uvicorn's and pytest-asyncio's loops."""
    T = typing.TypeVar("T")

    class F(aio.Future, typing.Generic[T]):
        def __init__(self, loop):
            super().__init__(loop=loop)

    class Traced(aio.Task):
        def __init__(self, *args, **kwargs):
            self._orig = None
            super().__init__(*args, **kwargs)
            self._started_at = loop.time()

        def cancel(self, msg=None):
            self._orig = msg
            return super().cancel(msg)
    f = F(loop)
    loop.call_soon(f.set_result, 1)
    assert run(f) == 1
    t = Traced(aio.sleep(100), loop=loop)
    spin(loop)
    t.cancel("m")
    with pytest.raises(aio.CancelledError):
        run(t)
    assert t._orig == "m" and t._started_at

    class Custom(type(loop)):
        pass
    own = Custom()
    assert own.run_until_complete(aio.sleep(0, 5)) == 5
    own.close()

    class Selector(asyncio.SelectorEventLoop):
        pass
    own = Selector()
    assert own.run_until_complete(asyncio.sleep(0, 5)) == 5
    own.close()


# --- loops -------------------------------------------------------------------------------------------------------------

def test_loop_bases(aio, loop):
    """motor, panel, bokeh, aiosmtpd, sanic; aiohttp and nest_asyncio ask for BaseEventLoop."""
    assert isinstance(loop, asyncio.AbstractEventLoop) and isinstance(loop, asyncio.BaseEventLoop)
    assert issubclass(type(loop), asyncio.events.AbstractEventLoop)


@pytest.mark.parametrize("name", ["time", "close", "call_soon_threadsafe", "getaddrinfo", "create_connection", "start_tls", "call_later", "call_at",
                                  "run_in_executor", "create_task", "sock_connect", "shutdown_asyncgens"])
def test_overrides_on_the_instance(aio, name):
    """homeassistant (time), sentry (close), anyio's tests (call_soon_threadsafe), aiohttp's tests (the others)."""
    loop = aio.new_event_loop()
    m = mock.Mock(return_value="mocked")
    setattr(loop, name, m)
    assert getattr(loop, name)(1, x=2) == "mocked"
    m.assert_called_once_with(1, x=2)
    delattr(loop, name)
    assert getattr(loop, name) != m and name not in loop.__dict__
    loop.close()


def test_mock_with_the_spec_of_a_loop(aio, loop):
    """mock.create_autospec and Mock(spec=...) of the loop and of its class; coroutine functions become AsyncMocks."""
    m = mock.Mock(spec=loop)
    assert isinstance(m, asyncio.AbstractEventLoop)
    spec = mock.create_autospec(type(loop), instance=True)
    spec.call_soon(callback)
    assert isinstance(spec.create_connection, mock.AsyncMock) or inspect.iscoroutinefunction(spec.create_connection)
    with mock.patch.object(loop, "create_connection") as patched:
        assert isinstance(patched, mock.AsyncMock)


def test_getaddrinfo_patched(aio, loop, run):
    async def fake(*args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", server.getsockname())]
    with socket.create_server(("127.0.0.1", 0)) as server:
        loop.getaddrinfo = fake
        t, p = run(loop.create_connection(asyncio.Protocol, "name.invalid", 1))
        t.abort()
        spin(loop, 2)


def test_private_names_of_loops(aio, loop, run):
    """nest_asyncio, homeassistant, aiotools, twisted, panel."""
    for name in ("_ready", "_scheduled", "_selector", "_stopping", "_clock_resolution", "_default_executor", "_closed", "_thread_id", "_debug",
                 "_asyncgens", "_internal_fds"):
        assert hasattr(loop, name)
    for name in ("_run_once", "_process_events", "_check_closed", "_check_running", "_write_to_self", "_add_callback", "_timer_handle_cancelled",
                 "_check_thread", "_asyncgen_firstiter_hook", "_asyncgen_finalizer_hook", "_set_coroutine_origin_tracking"):
        assert callable(getattr(loop, name))
    loop._stopping = True
    assert loop._stopping is True
    loop.call_soon(callback)
    loop.run_forever()                      # a stop that was asked for before
    assert loop._stopping is False


def nest_run_forever(self):
    """The heart of nest_asyncio, in its own words: it drives the loop by its private parts."""
    if self._closed:
        raise RuntimeError("Event loop is closed")
    before = asyncio._get_running_loop()
    old = self._thread_id
    try:
        self._thread_id = threading.get_ident()
        asyncio._set_running_loop(self)
        while True:
            self._run_once()
            if self._stopping:
                break
        self._stopping = False
    finally:
        self._thread_id = old
        asyncio._set_running_loop(before)


def test_a_loop_driven_by_its_private_parts(aio, loop):
    seen = []

    async def work():
        await aio.sleep(0.001)
        seen.append(asyncio.get_running_loop() is loop)
        loop.stop()
    loop.create_task(work())
    nest_run_forever(loop)
    assert seen == [True]
    assert loop.run_until_complete(aio.sleep(0, 3)) == 3


def test_nested_runs(aio, loop, run):
    """nest_asyncio: a task that runs the loop it is running in."""
    async def inner():
        await aio.sleep(0.001)
        return "inner"

    async def outer():
        me = asyncio.current_task()
        asyncio.tasks._leave_task(loop, me)
        try:
            task = loop.create_task(inner())
            task.add_done_callback(lambda t: loop.stop())
            nest_run_forever(loop)
        finally:
            asyncio.tasks._enter_task(loop, me)
        assert asyncio.current_task() is me
        await aio.sleep(0)
        return task.result()
    assert run(outer()) == "inner"


@pytest.mark.parametrize("native", [True, False], ids=["run_once", "private parts"])
def test_a_nested_run_sends_what_was_written_before(aio, loop, native):
    """A write is put off to the end of the tick: a loop that is run within the tick must not wait for the answer before."""
    a, b = nonblocking_pair()

    class Echo(asyncio.Protocol):
        def data_received(self, data):
            got.append(data)
            loop.stop()
    got = []

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
        other, _ = await loop.create_connection(Echo, sock=b)
        late = loop.call_later(20, loop.stop)
        me = asyncio.current_task()
        asyncio.tasks._leave_task(loop, me)
        transport.write(b"x")
        try:
            if native:
                nest_run_forever(loop)
            else:
                while not got:
                    loop._process_events(loop._selector.select(10))
                    for _ in range(len(loop._ready)):
                        loop._ready.popleft()._run()
                loop._stopping = False
        finally:
            asyncio.tasks._enter_task(loop, me)
        assert got == [b"x"] and loop.time() < late.when()
        late.cancel()
        transport.close(), other.close()
        await aio.sleep(0)
        await aio.sleep(0)
    loop.run_until_complete(main())


def test_ready_has_a_deques_methods(same):
    """nest_asyncio2 puts Handles back by extendleft(), asynkit turns and searches the queue."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen, ready = [], loop._ready
            handles = [loop.call_soon(seen.append, i) for i in range(5)]
            ready.rotate(2)
            ready.rotate(-1)
            ready.insert(1, loop.call_soon(seen.append, 5))
            ready.pop()
            ready.extendleft([handles[0], handles[2]])
            ready.reverse()
            found = [ready.index(handles[0]), ready.count(handles[0]), len(ready), [handles.index(h) for h in ready.copy() if h in handles]]
            found += [outcome(ready.index, None), outcome(ready.insert, 1), outcome(ready.rotate, "x")]
            spin(loop)
            return found, seen
    same(scenario)


def test_class_is_writable(aio):
    """nest_asyncio patches methods of the loop's class."""
    loop = aio.new_event_loop()
    loop.close()
    cls, calls = type(loop), []
    original = cls.run_forever

    def run_forever(self):
        calls.append(1)
        return original(self)
    with mock.patch.object(cls, "run_forever", run_forever):
        loop = cls()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
    cls.some_attribute = 5
    del cls.some_attribute
    assert calls == [1]


def test_default_executor_is_readable(aio, loop, run):
    """panel's tests."""
    assert loop._default_executor is None
    run(loop.run_in_executor(None, callback))
    assert loop._default_executor is not None
    run(loop.shutdown_default_executor())


def test_timers_listed(aio, loop):
    """homeassistant looks for lingering timers in loop._scheduled."""
    h = loop.call_later(100, callback)
    lingering = [x for x in loop._scheduled if not x.cancelled()]
    assert lingering == [h] and lingering[0]._callback is callback and lingering[0].when() == h.when()
    h.cancel()
    assert [x for x in loop._scheduled if not x.cancelled()] == []


def test_foreign_loops_drive_our_objects(aio):
    """temporalio has a loop of its own: futures, tasks, gather and wait_for on it."""
    loop = FakeLoop()
    loop.time = lambda: 0.0
    loop.create_future = lambda: aio.Future(loop=loop)
    loop.create_task = lambda coro, **kw: aio.Task(coro, loop=loop, **kw)
    timers = []
    loop.call_later = lambda delay, cb, *args, **kw: timers.append(cb) or mock.Mock()
    loop.call_at = loop.call_later
    f, seen = loop.create_future(), []

    async def main():
        seen.append(await f)
        seen.append(await asyncio.gather(other(1), other(2)))
        return "end"

    async def other(x):
        return x
    asyncio._set_running_loop(loop)
    try:
        t = loop.create_task(main())
        loop.run_all()
        f.set_result("f")
        loop.run_all()
    finally:
        asyncio._set_running_loop(None)
    assert t.result() == "end" and seen == ["f", [1, 2]]


def test_users_sigchld_handler_stays(aio, loop, run):
    """tornado's tests: running the loop does not touch SIGCHLD."""
    handler = lambda *a: None
    old = signal.signal(signal.SIGCHLD, handler)
    try:
        run(aio.sleep(0.001))
        assert signal.getsignal(signal.SIGCHLD) is handler
    finally:
        signal.signal(signal.SIGCHLD, old)


# --- transports, servers, streams --------------------------------------------------------------------------------------

@contextlib.contextmanager
def transport(loop, protocol=None):
    a, b = nonblocking_pair()
    t, p = loop.run_until_complete(loop.connect_accepted_socket(protocol or asyncio.Protocol, a))
    yield t, b
    if t.get_protocol() is not None:
        t.abort()
    b.close()
    spin(loop, 2)


def test_transport_names(aio, loop):
    with transport(loop) as (t, peer):
        assert t._start_tls_compatible is True
        assert isinstance(t, asyncio.Transport) and isinstance(t, asyncio.transports.Transport) and isinstance(t, asyncio.BaseTransport)
        t.write = mock.Mock()
        t.write(b"x")
        t.write.assert_called_once_with(b"x")
        del t.write
        assert t._sock is not None and t._loop is loop and isinstance(t._extra, dict)
        for name in ("_protocol", "_closing", "_paused", "_conn_lost", "_sock_fd"):
            getattr(t, name)


def test_get_extra_info_of_the_class_can_be_patched(aio, loop, monkeypatch):
    """websockets' tests."""
    with transport(loop) as (t, peer):
        monkeypatch.setattr("asyncio.Transport.get_extra_info", lambda self, name, default=None: ("192.0.2.1", 5), raising=False)
        assert t.get_extra_info("peername") == ("192.0.2.1", 5)


def test_server_names(aio, loop, run):
    """sockets is a tuple, _ssl_context is there (websockets)."""
    server = run(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    assert isinstance(server, asyncio.AbstractServer) and isinstance(server, asyncio.Server) and isinstance(server, asyncio.base_events.Server)
    assert type(server.sockets) is tuple and server._ssl_context is None and server.get_loop() is loop and server._loop is loop
    server.close()
    assert server.sockets == ()
    run(server.wait_closed())


def test_stream_names(aio, loop, run):
    """anyio (_protocol._paused), asyncpg (_transport, _over_ssl), aiosmtpd (_buffer, _transport), telethon (_wait_for_data)."""
    a, b = nonblocking_pair()

    async def main():
        reader, writer = await aio.open_unix_connection(sock=a)
        assert writer._protocol._paused is False and writer._transport is writer.transport is reader._transport
        assert writer._protocol._over_ssl is False and bytes(reader._buffer) == b""
        b.send(b"partial")
        await aio.wait_for(reader._wait_for_data("test"), 5)
        assert bytes(reader._buffer) == b"partial" and inspect.iscoroutinefunction(reader._wait_for_data)
        reader._buffer.clear()
        assert isinstance(reader, asyncio.StreamReader) and isinstance(writer, asyncio.StreamWriter)
        assert isinstance(writer._protocol, asyncio.StreamReaderProtocol)
        writer.close()
        await writer.wait_closed()
    run(main())
    b.close()


def test_replaced_get_running_loop(aio, monkeypatch):
    """trio-asyncio: its loop is not the one that CPython knows to run, but a replaced events._get_running_loop() answers with it."""
    async def acquire_held(lock):
        await lock.acquire()
        await lock.acquire()

    loop = aio.new_event_loop()
    monkeypatch.setattr(asyncio.events, "_get_running_loop", lambda: loop)
    monkeypatch.setattr(asyncio.events, "get_running_loop", lambda: loop)
    try:
        for waiting in (aio.Queue().get(), aio.Event().wait(), acquire_held(aio.Lock()), acquire_held(aio.Semaphore()), aio.sleep(60)):
            future = waiting.send(None)
            assert future.get_loop() is loop and aio.isfuture(future)
            waiting.close()
        assert aio.gather(loop.create_future()).get_loop() is loop
    finally:
        monkeypatch.undo()
        loop.close()
