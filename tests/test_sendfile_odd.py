"""loop.sendfile() and sock_sendfile() where something is odd: arguments, files, sockets, what a program has put in the place of methods and
of functions of os, connections that end in the middle.
"""
import asyncio
import contextlib
import contextvars
import gc
import inspect
import io
import os
import re
import socket
import ssl
import sys
import warnings

import pytest

from lab import clean, quiet, reset, scenario
from support import nonblocking_pair

SIZE = 50_000
ways = pytest.mark.parametrize("way", ["sock", "transport"])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(i * 7 % 251 for i in range(1000)) * (SIZE // 1000))
    return path


def content(path):
    return path.read_bytes()


async def told(awaitable):
    """What it returned or raised, with causes and contexts."""
    try:
        return ["returned", await awaitable]
    except (Exception, asyncio.CancelledError) as exc:
        text = re.sub(r"descriptor \d+", "descriptor N", clean(str(exc)).split("<")[0])
        return [type(exc).__name__, text, [type(e).__name__ if e is not None else None for e in (exc.__cause__, exc.__context__)]]


class Way:
    """One of the two functions with what it sends on, and its peer."""

    async def open(self, lab, way, sndbuf=None, kind="tcp", **hooks):
        self.lab, self.way = lab, way
        if way == "sock":
            self.target, self.peer = lab.pair(kind, sndbuf)
            self.send = lab.loop.sock_sendfile
        else:
            self.protocol, self.peer = await lab.connect(kind, sndbuf=sndbuf, **hooks)
            self.target = self.protocol.transport
            self.send = lab.loop.sendfile
        return self

    def start(self, *args, **kwargs):
        return self.lab.loop.create_task(self.send(self.target, *args, **kwargs))

    async def received(self):
        """What there is, without waiting for more."""
        await self.lab.ticks()
        data = b""
        try:
            while piece := self.peer.recv(1 << 20):
                data += piece
                await self.lab.ticks()
        except BlockingIOError:
            pass
        return data

    async def end(self):
        if self.way == "transport":
            await self.lab.end(self.protocol)


def short(data, path):
    return [len(data), data == content(path)[:len(data)]]


class Int(int):
    def __sub__(self, other):
        return Int(int(self) - other)


NUMBERS = [0, -1, 1, True, False, 7.0, "7", None, SIZE, SIZE + 1, 1 << 62, 1 << 63, 1 << 70, Int(9), b"7"]


@ways
@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.parametrize("what", ["offset", "count"])
def test_numbers(same, path, way, what, number):
    """Those that cannot be are refused in asyncio's words; those that do not fit fail as the system's call does."""
    async def main(lab):
        this = await Way().open(lab, way)
        with open(path, "rb") as f:
            got = [await told(this.start(f, **{what: number})), f.tell()]
            got += short(await this.received(), path)[:1]
        await this.end()
        return got
    same(scenario(main))


@ways
def test_arguments(same, path, way):
    async def main(lab):
        this = await Way().open(lab, way)
        got = []
        for args, kwargs in [((), {"file": 1, "wrong": 2}), ((io.BytesIO(),), {"file": 3})]:
            try:
                got.append(this.send(this.target, *args, **kwargs))
            except TypeError as exc:
                got.append(str(exc))
        with open(path, "rb") as f:
            got.append(await this.send(this.target, count=5, offset=2, file=f, fallback=0))
            got.append(f.tell())
        with open(path) as f:
            got.append(await told(this.send(this.target, f)))
        await this.end()
        return got
    same(scenario(main))


@ways
def test_a_coroutine(same, path, way):
    """It starts when it is awaited, and says if it never is."""
    async def main(lab):
        this = await Way().open(lab, way)
        got = [inspect.iscoroutinefunction(this.send) if sys.version_info >= (3, 12) else None, asyncio.iscoroutine(this.send(this.target, 1))]
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            this.send(this.target, "no file")
            gc.collect()
        got.append([str(w.message) for w in seen])
        coro = this.send(this.target, "no file")
        got.append([coro.__name__, coro.__qualname__, coro.cr_running, coro.cr_await])
        coro.close()
        got.append(await told(coro))
        await this.end()
        return got
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(scenario(main))


class Wrapped:
    """Looks like a file; what is asked of it is noted."""

    def __init__(self, file, log, number=None):
        self.file, self.log, self.number = file, log, number

    def fileno(self):
        self.log.append("fileno")
        if isinstance(self.number, Exception):
            raise self.number
        return self.file.fileno() if self.number is None else self.number

    def readinto(self, buffer):
        return self.file.readinto(buffer)

    def seek(self, *args):
        self.log.append(["seek", *args])
        return self.file.seek(*args)


FILE_NUMBERS = [None, -1, 1 << 20, AttributeError("no"), io.UnsupportedOperation("no"), OSError("no"), ValueError("no"), LookupError("no")]


@ways
@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("number", FILE_NUMBERS, ids=repr)
def test_files_that_only_look_so(same, path, way, number, fallback):
    async def main(lab):
        this = await Way().open(lab, way)
        with open(path, "rb") as f:
            got = [await told(this.start(Wrapped(f, lab.log, number), 10, 20, fallback=fallback)), f.tell()]
            got += [await this.received() == content(path)[10:30]]
        await this.end()
        return got
    same(scenario(main))


class Number:
    """Is as good as an int where the system is asked."""

    def __init__(self, number):
        self.number = number

    def __index__(self):
        if isinstance(self.number, Exception):
            raise self.number
        return self.number


@ways
@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("kind", ["index", "no index", "float", "text", "int", "-int", "long", "-long", "longer", "index longer"])
def test_numbers_of_files(same, path, way, kind, fallback):
    async def main(lab):
        this = await Way().open(lab, way)
        with open(path, "rb") as f:
            number = {"index": Number(f.fileno()), "no index": Number(LookupError("no")), "float": float(f.fileno()), "text": "3",
                      "int": 1 << 31, "-int": -(1 << 31) - 1, "long": (1 << 63) - 1, "-long": -(1 << 63), "longer": 1 << 64,
                      "index longer": Number(-(1 << 64))}[kind]
            got = [await told(this.start(Wrapped(f, lab.log, number), 10, 20, fallback=fallback)), f.tell()]
            if kind == "index":
                got.append(await this.received() == content(path)[10:30])
        await this.end()
        return got
    same(scenario(main))


@ways
@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("kind", ["closed", "fifo", "fifo count", "folder", "raw", "empty", "zero", "write only", "random", "beyond"])
def test_kinds_of_files(same, path, way, kind, fallback):
    async def main(lab):
        this = await Way().open(lab, way)
        args = (0,)
        if kind.startswith("fifo"):
            r, w = os.pipe()
            os.write(w, b"from a pipe")
            os.close(w)
            f, args = open(r, "rb", buffering=0), (0, 4) if "count" in kind else (0,)
        elif kind == "folder":
            f = Folder(path.parent)
        elif kind == "empty":
            empty = path.with_name("empty")
            empty.write_bytes(b"")
            f = open(empty, "rb")
        elif kind == "zero":
            f, args = open("/dev/zero", "rb", buffering=0), (0, 1000)
        elif kind == "write only":
            other = path.with_name("other")
            f = open(other, "wb")
            f.write(b"abc")
            f.flush()
        else:
            f = open(path, "r+b" if kind == "random" else "rb", buffering=0 if kind == "raw" else -1)
            args = (SIZE + 3, 10) if kind == "beyond" else (3, 10)
            if kind == "closed":
                f.close()
        with contextlib.closing(f):
            got = [await told(this.start(f, *args, fallback=fallback))]
            got.append(await this.received())
            try:
                got.append(f.tell())
            except (OSError, ValueError) as exc:
                got.append(type(exc).__name__)
        await this.end()
        return got
    same(scenario(main))


class Folder:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)

    def fileno(self):
        return self.fd

    def readinto(self, buffer):
        raise IsADirectoryError("a folder")

    def tell(self):
        return 0

    def close(self):
        os.close(self.fd)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("kind", ["subclass", "blocking", "time-out", "datagram", "closed", "ssl", "no socket", "of a transport"])
def test_sockets(same, path, kind, debug):
    async def main(lab):
        class Sub(socket.socket):
            def fileno(self):
                lab.log.append("fileno")
                return super().fileno()
        a, b = lab.pair("unix")
        loop = lab.loop
        sock = a
        if kind == "subclass":
            sock = lab.keep(Sub(fileno=a.detach()))
        elif kind == "blocking":
            a.setblocking(True)
        elif kind == "time-out":
            a.settimeout(5)
        elif kind == "datagram":
            sock, b = lab.keep(*socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        elif kind == "closed":
            a.close()
        elif kind == "ssl":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            sock = lab.keep(context.wrap_socket(a, server_side=True, do_handshake_on_connect=False))
        elif kind == "no socket":
            sock = 5
        elif kind == "of a transport":
            protocol, b = await lab.connect("tcp")
            sock = protocol.transport._sock
        with open(path, "rb") as f:
            got = [await told(loop.sock_sendfile(sock, f, 5, 10)), f.tell()]
        lab.log[:] = [entry for entry in lab.log if entry == "fileno"][:1]
        if kind == "of a transport":
            protocol.transport.abort()
            await lab.ticks()
            lab.log.clear()
        return got
    same(scenario(main, debug=debug))


@ways
@pytest.mark.parametrize("name", ["sendfile", "fstat", "lseek"])
@pytest.mark.parametrize("does", ["calls", "fails", "blocks first"])
def test_functions_of_os_that_were_replaced(same, path, way, name, does, monkeypatch):
    async def main(lab):
        this = await Way().open(lab, way)
        real = getattr(os, name)

        def call(*args):
            lab.log.append([name, *[a for a in args[2:]]])
            if does == "fails":
                raise OSError(5, "made to fail")
            if does == "blocks first" and name == "sendfile" and sum(entry[0] == name for entry in lab.log) == 1:
                raise BlockingIOError(11, "made to block")
            return real(*args)
        with open(path, "rb") as f, monkeypatch.context() as patched:
            patched.setattr(os, name, call)
            task = this.start(f, 10, 100)
            try:
                got = [await told(asyncio.wait_for(task, 1 if name == "lseek" and does == "fails" else 30))]
            finally:
                patched.undo()
            got += [await this.received() == content(path)[10:110], f.tell()]
        await this.end()
        return got
    same(scenario(main))


REPLACED = ["_check_sendfile_params", "_sock_sendfile_native", "_sock_sendfile_native_impl", "_sock_sendfile_update_filepos",
            "_sock_add_cancellation_callback", "_sendfile_native", "_sendfile_fallback", "_sock_sendfile_fallback", "sock_sendfile",
            "add_writer", "remove_writer", "create_future"]


@ways
@pytest.mark.parametrize("where", ["instance", "class"])
@pytest.mark.parametrize("name", REPLACED)
def test_methods_that_were_replaced(same, path, way, where, name, monkeypatch):
    """They are called, whoever they belong to."""
    async def main(lab):
        this = await Way().open(lab, way)
        loop, seen = lab.loop, []
        real = getattr(loop, name)

        def call(*args, **kwargs):
            if not seen:
                seen.append(name)
            return real(*args[where == "class":], **kwargs)
        with monkeypatch.context() as patched:
            patched.setattr(loop if where == "instance" else type(loop), name, call, raising=True)
            with open(path, "rb") as f:
                got = [await told(getattr(loop, this.send.__name__)(this.target, f, 10, 100)), f.tell()]
            with io.BytesIO(content(path)) as f:
                got += [await told(getattr(loop, this.send.__name__)(this.target, f, 10, 100)), f.tell()]
        got += [await this.received() == content(path)[10:110] * 2]
        lab.log[:] = seen
        await this.end()
        return got
    same(scenario(main))


def test_a_native_sendfile_that_refuses(same, path):
    """SendfileNotAvailableError of a method that a subclass has means reading and writing, once."""
    async def main(lab):
        async def refuses(*args):
            lab.log.append("asked")
            raise asyncio.SendfileNotAvailableError("not today")

        async def refuses_too(*args):
            lab.log.append("fallback")
            raise asyncio.SendfileNotAvailableError("nor so")
        got = []
        p, _ = await lab.connect("tcp")
        a, _ = lab.pair("tcp")
        with open(path, "rb") as f:
            def send(**kwargs):
                return lab.loop.sendfile(p.transport, f, **kwargs) if name == "_sendfile_native" else lab.loop.sock_sendfile(a, f, **kwargs)
            for name, fallback in (("_sendfile_native", "_sendfile_fallback"), ("_sock_sendfile_native", "_sock_sendfile_fallback")):
                setattr(lab.loop, name, refuses)
                got += [await told(send(fallback=False)), await told(send())]
                setattr(lab.loop, fallback, refuses_too)
                got.append(await told(send()))
                delattr(lab.loop, name)
                got.append(await told(send(count=5)))
                delattr(lab.loop, fallback)
        lab.log.append("end")
        await lab.end(p)
        return got
    same(scenario(main))


@ways
@pytest.mark.parametrize("length,count", [(10, None), (10, 5), (10, 10), (10, 20), (0, None), (SIZE, 30_000)])
def test_how_many_ticks(same, path, way, length, count):
    """Others run in between as often as in asyncio."""
    async def main(lab):
        this = await Way().open(lab, way)
        os.truncate(path, length)
        ticks = 0

        def tick():
            nonlocal ticks
            ticks += 1
            if not task.done():
                lab.loop.call_soon(tick)
        with open(path, "rb") as f:
            task = this.start(f, 0, count)
            lab.loop.call_soon(tick)
            await task
        await this.received()
        await this.end()
        return ticks
    content_before = content(path)

    def run(aio):
        path.write_bytes(content_before)
        return scenario(main)(aio)
    same(run)


@ways
@pytest.mark.parametrize("when", ["waiting", "with the report"])
def test_cancelled_and_where_the_file_stands(same, path, way, when):
    async def main(lab):
        this = await Way().open(lab, way, sndbuf=5000, kind="unix")
        os.truncate(path, 3_000_000)
        with open(path, "rb") as f:
            f.seek(17)
            task = this.start(f)
            await lab.ticks()
            if when == "with the report":
                lab.loop.call_soon(task.cancel)
                while True:
                    try:
                        this.peer.recv(1 << 20)
                    except BlockingIOError:
                        break
            else:
                task.cancel("enough")
            got = [await told(task)]
            if when == "waiting":
                got.append(os.lseek(f.fileno(), 0, os.SEEK_CUR) == 17)
            await this.received()
            got.append(await told(this.start(f, 5, 10)))
            got.append(await this.received() == content(path)[5:15])
        await this.end()
        return got
    same(scenario(main))


@pytest.mark.parametrize("how", ["close", "abort", "peer"])
def test_the_transport_ends_in_the_middle(aio, path, how):
    """Who sends is not told (asyncio does not, either), and may be cancelled; the descriptor's next owner has it to himself.
    asyncio reports an InvalidStateError of its own besides, and after abort() its selector is confused."""
    os.truncate(path, 3_000_000)

    async def main(lab):
        this = await Way().open(lab, "transport", sndbuf=5000)
        fd = this.target.get_extra_info("socket").fileno()
        with open(path, "rb") as f:
            task = this.start(f)
            await lab.ticks()
            if how == "peer":
                reset(this.peer)
                got = await told(task)
                assert got[0] in ("ConnectionResetError", "BrokenPipeError"), got
                this.target.abort()
            else:
                getattr(this.target, how)()
            await lab.ticks()
            assert this.protocol.events()[-1] == "lost"
            others = [nonblocking_pair() for _ in range(4)]
            assert fd in [sock.fileno() for pair in others for sock in pair]
            transports = []
            for pair in others:
                for sock in pair:
                    transports.append(await lab.attach(lab.protocol(f"new {len(transports)}"), sock))
            if aio is not asyncio:
                for t in transports:
                    t.write(b"hello")
                await lab.until(lambda: sum(entry[1:] == ["data", b"hello"] for entry in lab.log) == 8)
            if how != "peer":
                assert not task.done()
                task.cancel()
                assert (await told(task))[0] == "CancelledError"
            for t in transports:
                t.abort()
        await lab.ticks()
    got = scenario(main)(aio)
    if aio is not asyncio:
        assert quiet(got), got


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("queued", [0, 1, 300_000])
def test_reading_and_writing_meanwhile(same, path, paused, queued):
    """Reading is paused and goes on, unless it was before; what was written goes first; write() is refused."""
    async def main(lab):
        this = await Way().open(lab, "transport", sndbuf=20_000)
        t = this.target
        t.set_write_buffer_limits(1 << 20)
        if paused:
            t.pause_reading()
        t.write(b"q" * queued)
        with open(path, "rb") as f:
            task = this.start(f)
            await asyncio.sleep(0)
            got = [t.is_reading()]
            for method, args in (("write", [b"x"]), ("writelines", [[b"x"]])):
                try:
                    got.append(getattr(t, method)(*args))
                except RuntimeError as exc:
                    got.append(str(exc))
            this.peer.send(b"early")
            data = await lab.receive(this.peer, queued + SIZE)
            got += [await task, data == b"q" * queued + content(path), t.is_reading(), f.tell()]
        if paused:
            t.resume_reading()
        await lab.seen("data")
        t.write(b"after")
        got.append(await lab.receive(this.peer, 5))
        await this.end()
        return got
    same(scenario(main))


@pytest.mark.parametrize("how", ["close", "cancel", "reset"])
def test_ended_while_the_queue_empties(same, path, how):
    async def main(lab):
        this = await Way().open(lab, "transport", sndbuf=5000, kind="tcp" if how == "reset" else "unix")
        this.target.set_write_buffer_limits(1 << 22)
        this.target.write(b"q" * 1_000_000)
        with open(path, "rb") as f:
            task = this.start(f)
            await asyncio.sleep(0)
            if how == "close":
                this.target.close()
                data = await lab.receive(this.peer, 1_000_000)
                got = [len(data), data.count(b"q")]
                await lab.ticks()
                task.cancel()
            elif how == "cancel":
                task.cancel()
                got = []
            else:
                reset(this.peer)
                got = []
            got += [(await told(task))[:2], f.tell()]
        if how != "close":
            this.target.abort()
        await lab.ticks()
        got += [this.target.is_reading()]
        lab.log[:] = [entry[0] for entry in lab.log]
        return got

    def run(aio):
        return {**scenario(main)(aio), "reports": "asyncio has an InvalidStateError of its own there"}
    same(run)


@ways
def test_a_peer_that_has_gone(same, path, way):
    """The first call's failure counts as a file that cannot be sent so, and reading and writing fails as well."""
    async def main(lab):
        this = await Way().open(lab, way, kind="unix")
        if way == "transport":
            this.target.pause_reading()
        this.peer.close()
        with open(path, "rb") as f:
            got = [await told(this.start(f, fallback=False)), f.tell()]
            if way == "sock":
                got += [await told(this.start(f)), f.tell()]
        if way == "transport":
            this.target.abort()
            await lab.ticks()
        return got
    same(scenario(main))


def test_displaced_by_another_writer(same, path):
    """Whoever else waits for the socket has it: nothing is sent any more, nor is the other disturbed when that is cancelled."""
    async def main(lab):
        a, b = lab.pair("unix", sndbuf=5000)
        called = []
        os.truncate(path, 3_000_000)
        with open(path, "rb") as f:
            task = lab.loop.create_task(lab.loop.sock_sendfile(a, f))
            await lab.ticks()
            lab.loop.add_writer(a, called.append, 1)
            first = await lab.receive(b, 1000)
            while True:
                await lab.ticks()
                try:
                    first += b.recv(1 << 20)
                except BlockingIOError:
                    break
            assert called and not task.done()
            lab.loop.remove_writer(a)
            task.cancel()
            return [(await told(task))[0], len(first) < 3_000_000]
    assert same(scenario(main))["result"] == ["CancelledError", True]


def test_several_on_one_loop(same, path):
    async def main(lab):
        pairs = [lab.pair("unix", sndbuf=5000) for _ in range(20)]
        with open(path, "rb") as f:
            tasks = [lab.loop.create_task(lab.loop.sock_sendfile(a, f, i * 10)) for i, (a, _) in enumerate(pairs)]
            data = await asyncio.gather(*(lab.receive(b, SIZE - i * 10) for i, (_, b) in enumerate(pairs)))
            return [await asyncio.gather(*tasks), [d == content(path)[i * 10:] for i, d in enumerate(data)]]
    same(scenario(main))


def test_the_loop_is_closed_meanwhile(aio, path):
    loop = aio.new_event_loop()
    a, b = nonblocking_pair()
    os.truncate(path, 3_000_000)
    with a, b, open(path, "rb") as f:
        task = loop.create_task(loop.sock_sendfile(a, f))
        loop.run_until_complete(asyncio.sleep(0.01))
        assert not task.done()
        task._log_destroy_pending = False
        loop.close()
        del task
        gc.collect()


def test_the_context_of_its_callbacks(same, path):
    """A socket's methods may be Python: those of a subclass see the caller's context."""
    var = contextvars.ContextVar("var", default="outside")

    async def main(lab):
        class Sub(socket.socket):
            def fileno(self):
                lab.log.append(var.get())
                return super().fileno()
        a, b = lab.pair("unix", sndbuf=5000)
        sub = lab.keep(Sub(fileno=a.detach()))

        async def sender():
            var.set("inside")
            return await lab.loop.sock_sendfile(sub, f)
        with open(path, "rb") as f:
            task = lab.loop.create_task(sender())
            await lab.receive(b, SIZE)
            got = await task
        lab.log[:] = sorted(set(lab.log))
        return got
    assert "inside" in same(scenario(main))["log"]
