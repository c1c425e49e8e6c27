"""Datagrams, pipes, children and files when system calls fail or fall short."""
import errno

import pytest

DATAGRAMS = '''
class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.log = []
    def connection_made(self, t):
        self.transport = t
    def datagram_received(self, data, addr):
        self.log.append(data)
    def error_received(self, exc):
        self.log.append(exc.errno)
    def connection_lost(self, exc):
        self.log.append(["lost", exc])

async def pair(loop):
    t, server = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    t, client = await loop.create_datagram_endpoint(Datagrams, remote_addr=t.get_extra_info("sockname"))
    t, free = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    return server, client, free

async def end(*protocols):
    clear()
    for p in protocols:
        p.transport.close()
    await until(lambda: all(p.log and p.log[-1] == ["lost", None] for p in protocols))
'''

@pytest.fixture
def endpoints(served):
    """endpoints(body) runs it with a server, a client connected to it and a free endpoint, and closes them."""
    def start(body, **names):
        return served("server, client, free = await pair(loop)\n" + body + "await end(server, client, free)\n", define=DATAGRAMS, **names)
    return start


PIPES = '''
async def pipe_reader(loop):
    r, w = os.pipe()
    t, p = await loop.connect_read_pipe(Note, os.fdopen(r, "rb", 0))
    return t, p, w

async def pipe_writer(loop):
    r, w = os.pipe()
    os.set_blocking(r, False)
    t, p = await loop.connect_write_pipe(Note, os.fdopen(w, "wb", 0))
    return t, p, r
'''


@pytest.mark.parametrize("error", [errno.ECONNREFUSED, errno.ENOMEM, errno.ENOBUFS, errno.EHOSTUNREACH])
def test_receiving_a_datagram_fails(endpoints, error):
    """The protocol is told, and the next one is received."""
    endpoints('''
fault("recvfrom", 1, error)
client.transport.sendto(b"one")
await until(lambda: b"one" in server.log)
assert server.log == [error, b"one"], server.log
''', error=error)


@pytest.mark.parametrize("error", [errno.ECONNREFUSED, errno.EPERM, errno.ENOBUFS, errno.EMSGSIZE, errno.ENOMEM, errno.ENETUNREACH])
@pytest.mark.parametrize("call", ["send", "sendto"])
def test_sending_a_datagram_fails(endpoints, error, call):
    endpoints('''
sender = client if call == "send" else free
to = None if call == "send" else server.transport.get_extra_info("sockname")
fault(call, 1, error)
sender.transport.sendto(b"one", to)
assert sender.log == [error], sender.log
sender.transport.sendto(b"two", to)
await until(lambda: server.log == [b"two"])
''', error=error, call=call)


@pytest.mark.parametrize("call", ["send", "sendto"])
@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EINTR])
def test_sending_a_datagram_has_to_wait(endpoints, error, call):
    """All arrive, once and in order; EINTR is tried again at once."""
    endpoints('''
sender = client if call == "send" else free
to = None if call == "send" else server.transport.get_extra_info("sockname")
for nth in (1, 2, 3):
    clear()
    fault(call, nth, error)
    server.log.clear()
    for i in range(5):
        sender.transport.sendto(b"%d" % i, to)
    waits = sender.transport.get_write_buffer_size() > 0
    assert waits == (error == errno.EAGAIN), waits
    await until(lambda: len(server.log) == 5)
    assert server.log == [b"%d" % i for i in range(5)]
    await until(lambda: sender.transport.get_write_buffer_size() == 0)
''', error=error, call=call)


@pytest.mark.parametrize("call,error", [("epoll_ctl", errno.ENOMEM), ("malloc", errno.ENOMEM), ("getsockname", errno.ENOBUFS),
                                        ("getpeername", errno.ENOBUFS)])
def test_making_an_endpoint_fails_anywhere(faulted, call, error):
    """For every n: an error, or an endpoint that can be closed; nothing left open."""
    faulted(DATAGRAMS + '''
call, error = sys.argv[1], int(sys.argv[2])
for nth in range(1, 8):
    with serving() as loop:
        async def main():
            fault(call, nth, error)
            try:
                t, p = await asyncio.wait_for(loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0)), 5)
            except (OSError, MemoryError):
                clear()
            else:
                await end(p)
        with contextlib.suppress(MemoryError):
            loop.run_until_complete(main())
''', call, error, resource_warnings=False, timeout=100)


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOSPC])
def test_no_room_in_the_poller_for_a_waiting_datagram(endpoints, error):
    """The caller is told; the endpoint can be closed."""
    endpoints('''
fault("send", 1, errno.EAGAIN)
fault("epoll_ctl", 1, error)
try:
    client.transport.sendto(b"one")
except (OSError, MemoryError):
    pass
else:
    raise AssertionError("no error")
clear()
client.transport.sendto(b"two")
await until(lambda: server.log == [b"two"])
''', error=error)


@pytest.mark.parametrize("error", [errno.EIO, errno.EBADF, errno.ENOMEM])
def test_reading_a_pipe_fails(served, error):
    """EIO, of a terminal whose other side is gone, is told to nobody but the protocol."""
    served('''
t, p, w = await pipe_reader(loop)
fault("read", 1, error)
os.write(w, b"x")
await until(lambda: len(p.log) == 2)
assert p.log[1][0] == "lost" and p.log[1][1].errno == error, p.log
os.close(w)
''', define=PIPES, reports=int(error != errno.EIO), error=error)


def test_reading_falls_short(served):
    served('''
t, p, w = await pipe_reader(loop)
fault("read", -1, 0, 3)
os.write(w, b"0123456789")
await until(lambda: len(p.data) == 10)
assert p.data == b"0123456789"
clear()
fault("read", 1, errno.EAGAIN)
os.write(w, b"more")
await until(lambda: p.data.endswith(b"more"))
os.close(w)
await until(lambda: p.log[-1] == ["lost", None])
assert p.log == ["made", "eof", ["lost", None]]
''', define=PIPES)


@pytest.mark.parametrize("error", [errno.EPIPE, errno.ENOSPC, errno.EIO, errno.ENOMEM])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_writing_a_pipe_fails(served, error, when):
    served('''
t, p, r = await pipe_writer(loop)
if when == "later":
    fault("write", 1, errno.EAGAIN)
    t.write(b"waits")
    assert t.get_write_buffer_size() == 5
    clear()
fault("write", 1, error)
if when == "at once":
    t.write(b"data")
    assert t.is_closing()
await until(lambda: len(p.log) == 2)
assert p.log[1][0] == "lost" and p.log[1][1].errno == error, p.log
os.close(r)
''', define=PIPES, error=error, when=when)


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_writing_falls_short(served, limit):
    served('''
t, p, r = await pipe_writer(loop)
data = bytes(range(256))
fault("write", 1, 0, limit)
fault("writev", 1, 0, limit)
for i in range(0, 256, 16):
    t.write(data[i:i + 16])
assert t.get_write_buffer_size() == 256 - limit
t.write(bytearray(b"end"))
t.close()
got = b""
async def read():
    nonlocal got
    while not got.endswith(b"end"):
        with contextlib.suppress(BlockingIOError):
            got += os.read(r, 1000)
        await asyncio.sleep(0)
await asyncio.wait_for(read(), 10)
assert got == data + b"end"
await until(lambda: p.log[-1] == ["lost", None])
os.close(r)
''', define=PIPES, limit=limit)


@pytest.mark.parametrize("call,error", [("fstat", errno.EBADF), ("fcntl", errno.EBADF), ("epoll_ctl", errno.ENOMEM), ("malloc", errno.ENOMEM)])
@pytest.mark.parametrize("side", ["reader", "writer"])
def test_making_a_pipe_fails_anywhere(faulted, call, error, side):
    faulted(PIPES + '''
call, error, side = sys.argv[1], int(sys.argv[2]), sys.argv[3]
for nth in range(1, 6):
    with serving() as loop:
        async def main():
            r, w = os.pipe()
            mine, other = (os.fdopen(r, "rb", 0), w) if side == "reader" else (os.fdopen(w, "wb", 0), r)
            connect = loop.connect_read_pipe if side == "reader" else loop.connect_write_pipe
            fault(call, nth, error)
            try:
                t, p = await asyncio.wait_for(connect(Note, mine), 5)
            except (OSError, MemoryError):
                clear()
            else:
                clear()
                t.close()
                await until(lambda: p.log[-1] == ["lost", None])
            mine.close()
            os.close(other)
        with contextlib.suppress(MemoryError):
            loop.run_until_complete(main())
''', call, error, side, resource_warnings=False, timeout=100)


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOSPC])
def test_no_room_in_the_poller_for_a_child(served, error):
    """Then a thread waits."""
    served('''
for nth in range(1, 4):
    fault("epoll_ctl", nth, error)
    p = await asyncio.create_subprocess_shell("exit 3")
    clear()
    assert await asyncio.wait_for(p.wait(), 10) == 3
''', error=error, reports=None)


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOSPC])
def test_no_room_in_the_poller_for_a_wait_that_it_was_not_told_of(served, error):
    """A busy loop tells its poller when it comes to sleep: it tries once more then, and whoever waits is told that it failed."""
    served('''
a, b = socket.socketpair()
for s in (a, b):
    s.setblocking(False)
async def receive():
    task = asyncio.ensure_future(loop.sock_recv(a, 10))
    await asyncio.sleep(0)
    b.send(b"x")
    assert await task == b"x"
for nth in (1, 1, -1):
    for _ in range(3):
        await receive()
    task = asyncio.ensure_future(loop.sock_recv(a, 10))
    await asyncio.sleep(0)
    fault("epoll_ctl", nth, error)
    await asyncio.sleep(0.01)
    clear()
    if nth > 0:
        assert not task.done()
        b.send(b"late")
        assert await task == b"late"
    else:
        try:
            await task
        except (OSError, MemoryError):
            pass
        else:
            raise AssertionError("no error")
await receive()
await receive()
task = asyncio.ensure_future(loop.sock_recv(a, 10))
await asyncio.sleep(0)
task.cancel()
await asyncio.sleep(0)
fault("epoll_ctl", -1, error)
await asyncio.sleep(0.01)       # not even to be taken away
clear()
b.send(b"kept")
await asyncio.sleep(0.01)
assert await loop.sock_recv(a, 10) == b"kept"
await receive()
a.close()
b.close()
''', error=error)


# ---- sendfile() ----

FILES = '''
import tempfile

async def sent(loop, way, orders, size=100_000, **kwargs):
    """What sending a file does, what came at the other end, and where the file stands."""
    t, p, peer = await connected(loop)
    got = bytearray()
    async def receive():
        while piece := await loop.sock_recv(peer, 1 << 18):
            got.extend(piece)
    task = asyncio.ensure_future(receive())
    content = bytes(i % 251 for i in range(size))
    with tempfile.TemporaryFile() as f:
        f.write(content)
        f.seek(0)
        a = None
        if way == "sock":
            t.abort()
            await until(lambda: len(p.log) > 1)
            peer.close()
            task.cancel()
            a, peer = socket.socketpair()
            a.setblocking(False), peer.setblocking(False)
            task = asyncio.ensure_future(receive())
        clear()
        orders()
        try:
            result = await (loop.sock_sendfile(a, f, **kwargs) if way == "sock" else loop.sendfile(t, f, **kwargs))
        except (Exception, asyncio.CancelledError) as exc:
            result = exc
        position = f.tell()
        clear()
    (a if way == "sock" else t).close()
    await asyncio.wait([task])
    peer.close()
    assert bytes(got) == content[:len(got)]
    return result, len(got), position
'''
ways = pytest.mark.parametrize("way", ["sock", "transport"])


@ways
@pytest.mark.parametrize("limit", [1000, 4096])
def test_files_sent_in_pieces(served, way, limit):
    served('''
def orders():
    fault("sendfile", -1, 0, limit)
assert await sent(loop, way, orders) == (100_000, 100_000, 100_000)
''', define=FILES, way=way, limit=limit)


@ways
@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EINTR])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_sendfile_is_to_be_tried_again(served, way, error, nth):
    served('''
def orders():
    fault("sendfile", nth, error)
assert await sent(loop, way, orders) == (100_000, 100_000, 100_000)
''', define=FILES, way=way, error=error, nth=nth)


@ways
@pytest.mark.parametrize("error", [errno.EIO, errno.EPIPE, errno.ENOMEM, errno.ENOTCONN, errno.EINVAL])
@pytest.mark.parametrize("fallback", [True, False])
def test_the_first_sendfile_fails(served, way, error, fallback):
    """The file is read and written then, if that is wanted."""
    served('''
def orders():
    fault("sendfile", 1, error)
result, length, position = await sent(loop, way, orders, fallback=fallback)
if fallback:
    assert (result, length, position) == (100_000, 100_000, 100_000)
else:
    assert type(result) is asyncio.SendfileNotAvailableError and str(result) == "os.sendfile call failed" and length == 0, result
''', define=FILES, way=way, error=error, fallback=fallback)


@ways
@pytest.mark.parametrize("error", [errno.EIO, errno.EPIPE, errno.ENOMEM, errno.ENOTCONN])
def test_a_later_sendfile_fails(served, way, error):
    """That is the connection's error, and the file stands behind what was sent."""
    served('''
def orders():
    fault("sendfile", 1, 0, 5000)
    loop.call_soon(fault, "sendfile", 1, error)
result, length, position = await sent(loop, way, orders)
if error == errno.ENOTCONN:
    assert type(result) is ConnectionError and result.args == ("socket is not connected", error) and result.__cause__.errno == error
else:
    assert isinstance(result, OSError) and result.errno == error, result
assert length == position > 0
''', define=FILES, way=way, error=error)


@ways
def test_the_file_cannot_be_placed(served, way):
    """At the end of a callback: the loop's handler is told, as in asyncio, and who waits may be cancelled."""
    served('''
def orders():
    fault("lseek", 1, errno.EIO)
    loop.call_later(0.05, task.cancel)
task = asyncio.ensure_future(sent(loop, way, orders))
result, length, position = await task
assert isinstance(result, asyncio.CancelledError) and length == 100_000 and position != length, (result, position)
assert [c["exception"].errno for c in reports] == [errno.EIO], reports
reports.clear()
''', define=FILES, way=way, reports=None)
