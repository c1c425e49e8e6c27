"""System calls that fail or fall short: asyncio's error or recovery, nothing left open, every byte delivered, the loop still serving."""
import errno

import pytest


def test_an_ordinary_build_has_no_trace_of_faults():
    pyasync = pytest.importorskip("pyasync")
    core = __import__("pyasync._core", fromlist=["_core"])
    assert not [name for name in dir(core) if "fault" in name], "built with PYASYNC_FAULTS=1"
    assert pyasync.EventLoop


def test_faults_can_be_ordered(faulted):
    faulted('''
for args in (("nothing", 1, 5), ("recv", 0, 5), ("recv", 1, -5), ("recv", 1, 5, -1), ("close", 1, 0, 5)):
    try:
        fault(*args)
    except OSError as e:
        assert e.errno == errno.EINVAL
    else:
        raise AssertionError(args)
clear()
''')


@pytest.mark.parametrize("call,error", [("epoll_create1", errno.EMFILE), ("epoll_create1", errno.ENFILE), ("eventfd", errno.EMFILE),
                                        ("eventfd", errno.ENOMEM), ("epoll_ctl", errno.ENOMEM), ("epoll_ctl", errno.ENOSPC),
                                        ("malloc", errno.ENOMEM)])
def test_a_loop_that_cannot_be_made(faulted, call, error):
    """The nth call fails, for every n that the making of a loop gets to: an error, nothing left open, and the next loop works."""
    out = faulted('''
call, error = sys.argv[1], int(sys.argv[2])
pyasync.new_event_loop().close()
before = open_fds()
failed = 0
for nth in range(1, 20):
    clear()
    fault(call, nth, error)
    try:
        loop = pyasync.new_event_loop()
    except (OSError, MemoryError) as e:
        failed += 1
        assert isinstance(e, MemoryError) or e.errno == error, e
    else:
        loop.close()
        clear()
        break
    gc.collect()
    assert open_fds() == before, (nth, before, open_fds())
clear()
with serving():
    pass
print(failed)
''', call, error, resource_warnings=False)  # an unfinished loop or transport warns in asyncio too
    assert call in ("epoll_ctl", "malloc") or int(out) >= 1


def test_scheduling_without_memory(faulted):
    """call_soon and call_later fail with MemoryError or have done their work: what was scheduled runs, once, in order."""
    faulted('''
for nth in list(range(1, 12)):
    with serving() as loop:
        ran, scheduled, failures = [], [], 0
        fault("malloc", nth, errno.ENOMEM)
        for i in range(5000):
            try:
                loop.call_soon(ran.append, i)
                scheduled.append(i)
            except MemoryError:
                failures += 1
            if i % 50 == 0:
                try:
                    loop.call_later(0, ran.append, -i - 1)
                    scheduled.append(-i - 1)
                except MemoryError:
                    failures += 1
        clear()
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
        assert sorted(ran) == sorted(scheduled) and [i for i in ran if i >= 0] == [i for i in scheduled if i >= 0]
        assert failures <= 1
''')


def test_timers_that_find_no_room_in_the_queue_are_due_in_the_next_tick(faulted):
    faulted('''
for nth in range(1, 5):
    with serving() as loop:
        ran = []
        for i in range(3000):
            loop.call_later(0, ran.append, i)
        loop.call_later(0.01, loop.stop)
        fault("malloc", nth, errno.ENOMEM)
        try:
            loop.run_forever()
        except MemoryError:
            assert not ran
        else:
            raise AssertionError("there was room")
        clear()
        loop.run_forever()
        assert ran == list(range(3000))
''')


@pytest.mark.parametrize("call,error", [("recv", errno.ECONNRESET), ("recv", errno.ETIMEDOUT), ("recv", errno.ENOMEM), ("recv", errno.EBADF)])
def test_receiving_fails(served, call, error):
    served('''
t, p, peer = await connected(loop)
fault(call, 1, error)
peer.send(b"x")
await until(lambda: len(p.log) > 1)
assert p.log[0] == "made" and p.log[1][0] == "lost", p.log
exc = p.log[1][1]
assert isinstance(exc, MemoryError) or exc.errno == error, exc
peer.close()
''', call=call, error=error, reports=int(error == errno.ENOMEM))


@pytest.mark.parametrize("error", [errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS, errno.EHOSTUNREACH])
@pytest.mark.parametrize("how", ["write", "writelines", "blocked"])
def test_sending_fails(faulted, error, how):
    faulted('''
error, how = int(sys.argv[1]), sys.argv[2]
for call in ("send", "sendmsg", "write", "writev"):
    with serving() as loop:
        async def main():
            t, p, peer = await connected(loop)
            if how == "blocked":
                while not t.get_write_buffer_size():
                    t.write(b"x" * 50_000)
            clear()
            fault(call, 1, error)
            if how == "write":
                t.write(b"data")
            elif how == "writelines":
                t.writelines([b"data", b"more"])
            else:
                t.write(b"tail")
                with contextlib.suppress(BlockingIOError):
                    while peer.recv(1 << 20):
                        pass
            await asyncio.sleep(0.01)
            if count(call):
                await until(lambda: len(p.log) > 1)
                assert p.log[1][0] == "lost" and p.log[1][1].errno == error and t.is_closing(), p.log
                used.append(call)
            else:
                t.abort()
                await until(lambda: len(p.log) > 1)
            peer.close()
        used = []
        loop.run_until_complete(main())
        if used:
            break
else:
    raise AssertionError("no call of that kind was used")
''', error, how)


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_short_sends_and_receives(served, limit):
    """Every byte arrives, in order, however little each call moves."""
    served('''
t, p, peer = await connected(loop)
u, q = await loop.create_connection(Note, sock=peer)
parts = [bytes([65 + i % 26]) * (i * 13 % 400) for i in range(100)]
for call in ("send", "sendmsg", "recv"):
    fault(call, -1, 0, limit)
for i, part in enumerate(parts):
    if i % 3:
        t.write(part)
    else:
        t.writelines([part[:5], bytearray(part[5:])])
    if i % 10 == 0:
        await asyncio.sleep(0)
t.close()
await until(lambda: ["lost", None] in q.log)
assert bytes(q.data) == b"".join(parts), (len(q.data), sum(map(len, parts)))
assert ["lost", None] in p.log
''', limit=limit, timeout=100)


@pytest.mark.parametrize("error", [errno.EINTR, errno.EAGAIN])
def test_calls_that_are_to_be_tried_again(served, error):
    served('''
t, p, peer = await connected(loop)
for nth in (1, 2, 3):
    for call in ("send", "sendmsg", "recv"):
        fault(call, nth, error)
    for i in range(4):
        t.write(b"data%d" % i)
        peer.send(b"back%d" % i)
        await asyncio.sleep(0.002)
await until(lambda: len(p.data) == 60)
got = b""
while len(got) < 60:
    got += await loop.sock_recv(peer, 100)
assert got == b"data0data1data2data3" * 3 and bytes(p.data) == b"back0back1back2back3" * 3
t.close()
await until(lambda: len(p.log) > 1)
peer.close()
''', error=error)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EINTR, errno.EAGAIN,
                                   errno.EPERM])
def test_accepting_fails(served, error):
    """Reported where asyncio reports it; the client is served later, at the latest with the next."""
    served('''
made = []
class P(Note):
    def connection_made(self, t):
        super().connection_made(t)
        made.append(self)
server = await loop.create_server(P, "127.0.0.1", 0)
clients = []
fault("accept4", 1, error)
for _ in range(2):
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, server.sockets[0].getsockname())
    clients.append(sock)
await until(lambda: len(made) == 2)
for sock in clients:
    sock.close()
await until(lambda: all(p.log[-1] == ["lost", None] for p in made))
server.close()
await server.wait_closed()
if error in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
    assert [c["message"] for c in reports] == ["socket.accept() out of system resource"], reports
elif error == errno.EPERM:
    assert len(reports) == 1 and reports[0]["exception"].errno == error, reports
else:
    assert not reports, reports
''', error=error, reports=None)


@pytest.mark.parametrize("call", ["getsockname", "getpeername", "setsockopt", "epoll_ctl", "malloc"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_making_a_connection_fails_anywhere(faulted, call, side):
    """For every n: an error or a working connection, and nothing left open."""
    faulted('''
call, side = sys.argv[1:]
error = errno.ENOMEM if call in ("malloc", "epoll_ctl") else errno.ENOBUFS
for nth in range(1, 9):
    with serving() as loop:
        async def main():
            made = []
            def factory():
                made.append(Note())
                return made[-1]
            server = await loop.create_server(factory, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            if side == "client":
                clear()
                fault(call, nth, error)
                sock = None
                try:
                    t, p = await asyncio.wait_for(loop.create_connection(Note, *address), 5)
                except (OSError, MemoryError):
                    pass
                else:
                    clear()
                    t.close()
                    await until(lambda: p.log[-1][0] == "lost")
                clear()
            else:
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(address)
                clear()
                fault(call, nth, error)
                with contextlib.suppress(MemoryError):
                    await asyncio.sleep(0.02)
                clear()
                await asyncio.sleep(0.02)
                sock.close()
            await asyncio.sleep(0.02)
            server.close()
            for p in made:
                if p.log and p.log[-1] in ("made", "eof"):
                    p.transport.abort()
            await asyncio.sleep(0.01)
        loop.run_until_complete(main())
''', call, side, timeout=100, resource_warnings=False)


@pytest.mark.parametrize("error", [errno.EINTR, errno.EBADF, errno.EINVAL])
def test_waiting_fails(faulted, error):
    """An interrupted wait goes on; any other error comes out of run_forever(), and the next run works."""
    faulted('''
error = int(sys.argv[1])
with serving() as loop:
    async def main():
        for nth in (1, 2):
            for call in ("epoll_wait", "epoll_pwait2"):
                fault(call, nth, error)
            await asyncio.sleep(0.003)
    task = loop.create_task(main())
    failures = 0
    for _ in range(10):
        try:
            loop.run_until_complete(task)
            break
        except OSError as e:
            assert e.errno == error
            failures += 1
    assert task.done() and (error != errno.EINTR or failures == 0), failures
''', error)


@pytest.mark.parametrize("error", [errno.ENOTCONN, errno.EPIPE])
def test_shutdown_fails(served, error):
    """asyncio lets the error out of write_eof() when nothing is buffered."""
    served('''
t, p, peer = await connected(loop)
fault("shutdown", 1, error)
try:
    t.write_eof()
except OSError as e:
    assert e.errno == error
else:
    raise AssertionError("no error")
clear()
t.close()
await until(lambda: ["lost", None] in p.log)
peer.close()
''', error=error)


def test_waking_from_a_thread_when_the_write_fails(faulted):
    """A wakeup that cannot be written is not an error of the caller's; the callback runs with the next wakeup."""
    faulted('''
import threading
with serving() as loop:
    ran = []
    def other():
        time.sleep(0.02)
        fault("write", 1, errno.EAGAIN)
        loop.call_soon_threadsafe(ran.append, 1)
        time.sleep(0.02)
        loop.call_soon_threadsafe(ran.append, 2)
        loop.call_soon_threadsafe(loop.stop)
    thread = threading.Thread(target=other)
    thread.start()
    loop.call_later(5, loop.stop)
    loop.run_forever()
    thread.join()
    assert ran == [1, 2]
''')
