"""Cases for growth.py: callbacks and timers, the loop, descriptors and signals, transports and streams."""
import asyncio
import contextvars
import functools
import gc
import os
import signal
import socket
import tempfile
import threading
import warnings

from cases import REPEAT, case, on_loop, swallow


# ---- callbacks and timers

@on_loop
async def call_soon(m, loop):
    context = contextvars.copy_context()
    for i in range(REPEAT):
        loop.call_soon(int, i)
        loop.call_soon(lambda: None, context=context)
        h = loop.call_soon(print, [i])
        repr(h), h._args, h._callback, h.get_context() if hasattr(h, "get_context") else None
        h.cancel()
        h.cancelled()
        if i % 7 == 0:
            await m.sleep(0)
    await m.sleep(0)


@on_loop
async def call_soon_bad(m, loop):
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    for _ in range(REPEAT):
        for bad in (None, 3, swallow, object()):
            try:
                loop.call_soon(bad)
            except TypeError:
                pass
    loop.set_debug(False)


@on_loop
async def call_soon_raises(m, loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(str(context["exception"])))

    def fails(x):
        raise ValueError(x)
    for i in range(REPEAT):
        loop.call_soon(fails, i)
    await m.sleep(0)
    assert len(reports) == REPEAT
    loop.set_exception_handler(None)


@on_loop
async def call_soon_threadsafe(m, loop):
    done = loop.create_future()

    def other():
        for i in range(REPEAT):
            loop.call_soon_threadsafe(int, i)
        loop.call_soon_threadsafe(done.set_result, None)
    thread = threading.Thread(target=other)
    thread.start()
    await done
    thread.join()


@on_loop
async def timers(m, loop):
    done = loop.create_future()
    for i in range(REPEAT):
        loop.call_later(0.0001 * (i % 5), int, i)
        loop.call_at(loop.time(), int, i)
        h = loop.call_later(1000 + i % 3, print, [i])
        repr(h), h.when(), h._when, hash(h), h == h
        h.cancel()
    loop.call_later(0.002, done.set_result, None)
    await done


@case
def timers_left(m):
    """Timers and callbacks still waiting when the loop closes."""
    loop = m.new_event_loop()
    for i in range(REPEAT):
        loop.call_later(1000, print, [loop, i])
        loop.call_soon(print, [loop, i])
    loop.close()


@on_loop
async def sleep(m, loop):
    for _ in range(REPEAT):
        await m.sleep(0)
        await m.sleep(0.0001, [1])
        t = m.create_task(m.sleep(1000))
        await m.sleep(0)
        t.cancel()
        await swallow(t)


# ---- the loop

@case
def loop_unused(m):
    for _ in range(REPEAT):
        m.new_event_loop().close()


@case
def loop_run_and_close(m):
    for _ in range(REPEAT):
        loop = m.new_event_loop()
        loop.run_until_complete(m.sleep(0))
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.note = [loop]
        loop.close()


@case
def loop_run_fails(m):
    async def fails():
        raise KeyError("on purpose")
    for _ in range(REPEAT):
        loop = m.new_event_loop()
        for attempt in (lambda: loop.run_until_complete(fails()), lambda: loop.run_until_complete(3)):
            try:
                attempt()
            except (KeyError, TypeError):
                pass
        loop.close()
        for attempt in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print), loop.run_forever,
                        lambda: loop.call_soon_threadsafe(print)):
            try:
                attempt()
            except RuntimeError:
                pass


@case
def runner(m):
    async def main():
        m.create_task(swallow(m.sleep(1000)))
        await m.sleep(0)
        return [1]
    for _ in range(REPEAT):
        assert m.run(main()) == [1]


@functools.cache
def loop_class(m):
    class Mine(m.EventLoop if hasattr(m, "EventLoop") else m.SelectorEventLoop):
        def call_soon(self, callback, *args, context=None):
            self.calls = getattr(self, "calls", 0) + 1
            return super().call_soon(callback, *args, context=context)
    return Mine


@case
def loop_subclass(m):
    Mine = loop_class(m)
    for _ in range(REPEAT // 4):
        loop = Mine()
        loop.run_until_complete(m.sleep(0.0001))
        loop.close()


@case
def loop_instance_overrides(m):
    for _ in range(REPEAT // 4):
        loop = m.new_event_loop()
        original = loop.time
        loop.time = lambda: original() + 5
        loop.run_until_complete(m.sleep(0.0001))
        loop.close()


@on_loop
async def async_generators(m, loop):
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await m.sleep(0)
    for _ in range(REPEAT):
        async for _ in numbers():
            break
        await m.sleep(0)
    gc.collect()
    await m.sleep(0)
    await loop.shutdown_asyncgens()


@on_loop
async def executor(m, loop):
    for i in range(REPEAT // 4):
        assert await loop.run_in_executor(None, int, i) == i
        assert await m.to_thread(int, i) == i
    await loop.shutdown_default_executor()


@on_loop
async def run_coroutine_threadsafe(m, loop):
    async def child(i):
        await m.sleep(0)
        return i

    def other():
        return [m.run_coroutine_threadsafe(child(i), loop).result() for i in range(REPEAT // 4)]
    assert await m.to_thread(other) == list(range(REPEAT // 4))
    await loop.shutdown_default_executor()


@on_loop
async def debug_mode(m, loop):
    loop.set_debug(True)
    loop.slow_callback_duration = 60

    async def child():
        f = loop.create_future()
        loop.call_later(0.0001, f.set_result, None)
        loop.call_soon(int)
        await f
    for _ in range(REPEAT):
        await m.create_task(child())
    loop.set_debug(False)


# ---- descriptors, sockets, signals

def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    return a, b


@on_loop
async def readers_writers(m, loop):
    for i in range(REPEAT):
        a, b = pair()
        readable, writable = loop.create_future(), loop.create_future()
        loop.add_reader(a, lambda: None)
        loop.add_reader(a, lambda f, x: f.done() or f.set_result(x), readable, i)
        loop.add_writer(a.fileno(), lambda: writable.done() or writable.set_result(None))
        b.send(b"x")
        await readable
        await writable
        assert loop.remove_reader(a) and loop.remove_writer(a) and not loop.remove_reader(a)
        a.close()
        b.close()


@case
def readers_left(m):
    """Watchers still there when the loop closes."""
    for _ in range(REPEAT // 4):
        loop = m.new_event_loop()
        pairs = [pair() for _ in range(4)]
        for a, b in pairs:
            loop.add_reader(a, print, [loop])
            loop.add_writer(b, print, [loop])
        loop.close()
        for a, b in pairs:
            a.close()
            b.close()


@on_loop
async def sock_operations(m, loop):
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    for i in range(REPEAT // 2):
        client = socket.socket()
        client.setblocking(False)
        accepting = m.create_task(loop.sock_accept(server))
        await loop.sock_connect(client, server.getsockname())
        peer, _ = await accepting
        reading = m.create_task(loop.sock_recv(peer, 100))
        await m.sleep(0)
        await loop.sock_sendall(client, b"hello")
        assert await reading == b"hello"
        waiting = m.create_task(loop.sock_recv_into(peer, bytearray(10)))
        await m.sleep(0)
        waiting.cancel()
        await swallow(waiting)
        client.close()
        peer.close()
    server.close()


@on_loop
async def signal_handlers(m, loop):
    for i in range(REPEAT // 4):
        got = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, got.set_result, [i])
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await got == [i]
        assert loop.remove_signal_handler(signal.SIGUSR1)
        try:
            loop.add_signal_handler(signal.SIGKILL, print)
        except (RuntimeError, OSError):
            pass


@case
def signal_handlers_left(m):
    for _ in range(REPEAT // 4):
        loop = m.new_event_loop()
        loop.add_signal_handler(signal.SIGUSR1, print, [loop])
        loop.run_until_complete(m.sleep(0))
        loop.close()


# ---- transports, servers, streams

class Echo(asyncio.Protocol):
    live = 0

    def connection_made(self, transport):
        Echo.live += 1
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, exc):
        Echo.live -= 1


async def until(m, condition):
    for _ in range(10_000):
        if condition():
            return
        await m.sleep(0.001)
    raise AssertionError("it did not come to that")


async def close(m, server):
    """A loop that closes over live connections would leave what the next round has to clear away."""
    server.close()
    await until(m, lambda: Echo.live == 0)
    await server.wait_closed()


class Asker(asyncio.Protocol):
    def __init__(self, done):
        self.done, self.got = done, b""

    def connection_made(self, transport):
        self.transport = transport
        transport.writelines([b"hello ", b"world"])

    def data_received(self, data):
        self.got += data
        if len(self.got) == 11:
            self.transport.close()

    def connection_lost(self, exc):
        self.done.set_result(self.got)


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, done):
        self.done, self.buffer, self.size = done, bytearray(100), 0

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"hello world")

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, n):
        self.size += n
        if self.size == 11:
            self.transport.abort()

    def connection_lost(self, exc):
        self.done.set_result(self.size)


class Bad(asyncio.Protocol):
    lost = 0

    def data_received(self, data):
        raise ValueError("data")

    def connection_lost(self, exc):
        Bad.lost += 1
        raise ValueError("lost")


class Worse(Bad):
    def connection_made(self, transport):
        raise ValueError("made")


class Quiet(asyncio.Protocol):
    paused = False

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False


@on_loop
async def protocol_echo(m, loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for _ in range(REPEAT // 4):
        done = loop.create_future()
        transport, _ = await loop.create_connection(lambda: Asker(done), *address)
        for key in ("socket", "peername", "sockname", "nothing"):
            transport.get_extra_info(key)
        repr(transport)
        assert await done == b"hello world"
        done = loop.create_future()
        await loop.create_connection(lambda: Buffered(done), *address)
        assert await done == 11
    await close(m, server)


@on_loop
async def unix_echo(m, loop):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = await loop.create_unix_server(Echo, path)
        for _ in range(REPEAT // 4):
            done = loop.create_future()
            await loop.create_unix_connection(lambda: Asker(done), path)
            assert await done == b"hello world"
        await close(m, server)


@on_loop
async def connection_refused(m, loop):
    with socket.create_server(("127.0.0.1", 0)) as s:
        address = s.getsockname()
    for _ in range(REPEAT // 4):
        try:
            await loop.create_connection(asyncio.Protocol, *address)
        except ConnectionRefusedError:
            pass


@on_loop
async def protocol_raises(m, loop):
    """Every method of a protocol fails once; the exception handler hears of it and the transport goes away."""
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
    Bad.lost = 0
    for kind in (Bad, Worse):
        for i in range(REPEAT // 8):
            a, b = pair()
            b.send(b"data")
            transport, _ = await loop.create_connection(kind, sock=a)
            if i % 2:                           # or data_received is what ends it
                transport.abort()
            await until(m, lambda: Bad.lost)
            await m.sleep(0)
            Bad.lost = 0
            b.close()
    assert len(reports) >= 2 * (REPEAT // 8)
    loop.set_exception_handler(None)


@on_loop
async def write_buffering(m, loop):
    chunk = b"x" * 100_000
    for _ in range(REPEAT // 8):
        a, b = pair()
        transport, protocol = await loop.create_connection(Quiet, sock=a)
        for _ in range(10):
            transport.write(chunk)
        transport.write(bytearray(chunk))
        transport.write(memoryview(chunk)[10:])
        assert protocol.paused and transport.get_write_buffer_size()
        got = 0
        while got < 12 * len(chunk) - 10:
            got += len(await loop.sock_recv(b, 1 << 20))
        await m.sleep(0)
        transport.write(chunk * 20)
        transport.pause_reading()
        transport.abort()                       # with data still waiting
        await m.sleep(0)
        b.close()


@on_loop
async def streams(m, loop):
    handled = 0

    async def handle(reader, writer):
        nonlocal handled
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()
        await swallow(writer.wait_closed())
        handled += 1
    server = await m.start_server(handle, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    for i in range(REPEAT // 8):
        reader, writer = await m.open_connection(*address)
        for n in range(3):
            writer.write(b"%d\n" % n)
            await writer.drain()
            assert await reader.readuntil() == b"%d\n" % n
        waiting = m.create_task(reader.read(10))
        await m.sleep(0)
        waiting.cancel()
        await swallow(waiting)
        if i % 2:
            writer.write_eof()
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    await until(m, lambda: handled == REPEAT // 8)
    server.close()
    await server.wait_closed()


@on_loop
async def connections_aborted(m, loop):
    """Both sides go away at once, without a word."""
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    for _ in range(REPEAT // 8):
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        await until(m, lambda: Echo.live == 1)
        transport.abort()
        await until(m, lambda: Echo.live == 0)
    await close(m, server)


@case
def server_left_open(m):
    """The loop closes while a server and the two ends of a connection are open; their finalizers close them."""
    loop = m.new_event_loop()

    async def start():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        await until(m, lambda: Echo.live == 1)
        return server, transport
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        left = loop.run_until_complete(start())
        loop.close()
        del left
        gc.collect()
    Echo.live = 0


# ---- datagrams, pipes, children

class DatagramNote(asyncio.DatagramProtocol):
    def __init__(self, log):
        self.log = log

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.log.append((data, addr))
        if data == b"fail":
            raise ValueError("datagram_received")

    def error_received(self, exc):
        self.log.append(exc)


@on_loop
async def datagrams(m, loop):
    loop.set_exception_handler(lambda loop, context: log.append(context))
    log = []
    server, _ = await loop.create_datagram_endpoint(lambda: DatagramNote(log), local_addr=("127.0.0.1", 0))
    address = server.get_extra_info("sockname")
    for _ in range(REPEAT // 4):
        fixed, _ = await loop.create_datagram_endpoint(lambda: DatagramNote(log), remote_addr=address)
        free, _ = await loop.create_datagram_endpoint(lambda: DatagramNote(log), local_addr=("127.0.0.1", 0))
        for data in (b"bytes", bytearray(b"array"), memoryview(b"view"), b"fail"):
            fixed.sendto(data)
            free.sendto(data, address)
        for call in (lambda: fixed.sendto(b"x", ("127.0.0.1", 1)), lambda: fixed.sendto("text")):
            try:
                call()
            except (TypeError, ValueError):
                pass
        free.sendto(b"x", ("127.0.0.1", "no port"))           # fatal
        fixed.sendto(b"x" * 70_000)
        await until(m, lambda: sum(type(e) is tuple for e in log) >= 8)
        repr(fixed), fixed.get_extra_info("peername"), free._address
        fixed.close()
        free.abort()
        await m.sleep(0)
        log.clear()
    server.close()
    await m.sleep(0)
    loop.set_exception_handler(None)
    log.clear()


@on_loop
async def datagrams_queued(m, loop):
    for i in range(REPEAT // 8):
        with tempfile.TemporaryDirectory() as folder:
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            peer.bind(folder + "/s")
            log = []
            t, _ = await loop.create_datagram_endpoint(lambda: DatagramNote(log), remote_addr=folder + "/s", family=socket.AF_UNIX)
            while not t.get_write_buffer_size():
                t.sendto(b"x" * 1000)
            for n in range(20):
                t.sendto(bytearray(b"y" * n))
            if i % 2:
                t.abort()
            else:
                peer.close()
                t.close()
                await until(m, lambda: t._sock is None)
            peer.close()
            await m.sleep(0)
            log.clear()


@on_loop
async def pipes(m, loop):
    for i in range(REPEAT // 4):
        r, w = os.pipe()
        log = []

        class Note(asyncio.Protocol):
            def data_received(self, data):
                log.append(data)

            def connection_lost(self, exc):
                log.append(exc)
        reader, _ = await loop.connect_read_pipe(Note, os.fdopen(r, "rb", 0))
        writer, _ = await loop.connect_write_pipe(Note, os.fdopen(w, "wb", 0))
        repr(reader), repr(writer), reader.get_extra_info("pipe")
        if i % 3 == 0:
            reader.pause_reading()
            while not writer.get_write_buffer_size():
                writer.write(bytearray(10_000))
            writer.write(b"more")
            reader.close()
        elif i % 3 == 1:
            writer.write(b"data")
            writer.close()
        else:
            reader.close()
            writer.abort()
        await until(m, lambda: sum(not isinstance(e, bytes) for e in log) == 2)
        with open(os.__file__, "rb") as file:
            try:
                await loop.connect_read_pipe(Note, file)
            except ValueError:
                pass
        log.clear()


@on_loop
async def subprocesses(m, loop):
    for _ in range(3):
        p = await m.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        assert await p.communicate(b"data") == (b"data", None)
        await loop.getaddrinfo("::1", 80)
