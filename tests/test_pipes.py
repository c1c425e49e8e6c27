"""connect_read_pipe() and connect_write_pipe() over pipes, FIFOs, sockets and terminals."""
import asyncio
import contextvars
import gc
import os
import pty
import re
import socket
import tty
import warnings

import pytest

from lab import Lab, Recorder, clean, quiet, scenario
from support import outcome

KINDS = ("pipe", "fifo", "socket", "pty")


class File:
    """A file object that writes down when it is closed."""

    def __init__(self, fd, log):
        self.fd, self.log = fd, log

    def fileno(self):
        return self.fd

    def close(self):
        self.log.append(["closed", os.get_blocking(self.fd)])
        os.close(self.fd)

    def __repr__(self):
        return "<File>"


def ends(kind, tmp_path="/tmp"):
    """A reading and a writing descriptor."""
    if kind == "pipe":
        return os.pipe()
    if kind == "socket":
        a, b = socket.socketpair()
        return a.detach(), b.detach()
    if kind == "pty":
        r, w = pty.openpty()
        tty.setraw(w)
        return r, w
    path = os.path.join(tmp_path, f"fifo-{os.getpid()}")
    os.mkfifo(path)
    try:
        r = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        return r, os.open(path, os.O_WRONLY)
    finally:
        os.unlink(path)


async def reader(lab, fd, name=None, **hooks):
    protocol = Recorder(lab.log, name, **hooks)
    transport, got = await lab.loop.connect_read_pipe(lambda: protocol, File(fd, lab.log))
    assert got is protocol and protocol.transport is transport
    return protocol


async def writer(lab, fd, name=None, **hooks):
    protocol = Recorder(lab.log, name, **hooks)
    transport, got = await lab.loop.connect_write_pipe(lambda: protocol, File(fd, lab.log))
    assert got is protocol and protocol.transport is transport
    return protocol


def closing(lab, fd):
    """A descriptor of the test's own."""
    class Owner:
        def close(self):
            if self.fd is not None:
                os.close(self.fd)
                self.fd = None
    owner = Owner()
    owner.fd = fd
    lab.keep(owner)
    return owner


async def reading(lab, name=None, data=b"", **hooks):
    """A protocol that reads a pipe, and the end to write to; what `data` is there already."""
    r, w = ends("pipe")
    os.write(w, data)
    return await reader(lab, r, name, **hooks), closing(lab, w)


async def writing(lab, name=None, **hooks):
    """A protocol that writes to a pipe, and the end to read from."""
    r, w = ends("pipe")
    return await writer(lab, w, name, **hooks), closing(lab, r)


def fill(p, size=10_000):
    """Writes until something has to wait; how much there was."""
    total = 0
    while p.transport.get_write_buffer_size() == 0:
        p.transport.write(b"x" * size)
        total += size
        assert total < 100_000_000
    return total


def drain(fd):
    os.set_blocking(fd, False)
    total = bytearray()
    while True:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return bytes(total)
        if not data:
            return bytes(total)
        total += data


# ---- reading ----

@pytest.mark.parametrize("kind", KINDS)
def test_reading(same, kind, tmp_path):
    async def main(lab):
        r, w = ends(kind, tmp_path)
        w = closing(lab, w)
        p = await reader(lab, r)
        info = [repr(p.transport), p.transport.is_reading(), os.get_blocking(r)]
        os.write(w.fd, b"hello")
        await lab.seen("data")
        os.write(w.fd, b" again")
        await lab.ticks()
        w.close()
        await lab.seen("lost")
        return info + [repr(p.transport), p.transport.is_reading(), p.transport.is_closing(), p.transport.get_protocol()]
    got = same(scenario(main))
    assert got["log"][0] == ["made"] and got["log"][1] == ["data", b"hello again"] and got["log"][-1] == ["closed", False]


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_much_data(same, kind, tmp_path):
    data = os.urandom(1000) * 3000

    async def main(lab):
        r, w = ends(kind, tmp_path)
        p, q = await reader(lab, r), await writer(lab, w, "w")
        q.transport.write(data)
        q.transport.close()
        await lab.until(lambda: ["lost", None] in lab.log and ["w", "lost", None] in lab.log)
        whole = b"".join(e[1] for e in lab.log if e[0] == "data") == data
        lab.log.clear()
        return whole
    assert same(scenario(main))["result"] is True


def test_pausing(same):
    async def main(lab):
        p, w = await reading(lab)
        t = p.transport
        t.pause_reading()
        t.pause_reading()
        os.write(w.fd, b"later")
        await lab.ticks()
        seen = [len(lab.log), repr(t)]
        t.resume_reading()
        t.resume_reading()
        await lab.seen("data")
        p.hooks["data_received"] = lambda p, data: t.pause_reading()
        os.write(w.fd, b"a")
        await lab.ticks()
        os.write(w.fd, b"b")
        await lab.ticks()
        seen.append(list(lab.log[-1]))
        t.close()
        t.pause_reading()
        t.resume_reading()
        await lab.ticks()
        return seen
    same(scenario(main))


def test_pausing_in_connection_made(same):
    async def main(lab):
        p, w = await reading(lab, data=b"data", connection_made=lambda p: p.transport.pause_reading())
        await lab.ticks()
        seen = [repr(p.transport), len(lab.log)]
        p.transport.resume_reading()
        await lab.seen("data")
        await lab.end(p)
        return seen
    same(scenario(main))


def test_closing_in_connection_made(same):
    async def main(lab):
        p, w = await reading(lab, data=b"data", connection_made=lambda p: p.transport.close())
        await lab.ticks()
        return repr(p.transport)
    same(scenario(main))


@pytest.mark.parametrize("event", ["data_received", "eof_received", "connection_lost"], ids=["data", "eof", "lost"])
def test_a_callback_of_the_reader_fails(same, event):
    async def main(lab):
        def bad(p, *args):
            raise ZeroDivisionError(event)
        r, w = ends("pipe")
        w = closing(lab, w)
        await reader(lab, r, **{event: bad})
        os.write(w.fd, b"1")
        await lab.seen("data")
        await lab.ticks()
        os.write(w.fd, b"2")
        await lab.ticks()
        w.close()
        await lab.seen("closed")
        return True
    got = same(scenario(main))
    assert got["reports"] and got["log"][-1] == ["closed", False]


def test_set_protocol(same):
    async def main(lab):
        p, w = await reading(lab, "first")
        second = Recorder(lab.log, "second")
        p.transport.set_protocol(second)
        got = p.transport.get_protocol() is second
        os.write(w.fd, b"1")
        await lab.seen("data")
        await lab.end(p)
        return got
    assert same(scenario(main))["result"] is True


def test_a_terminal_whose_other_side_goes(same):
    """EIO: told only in debug mode."""
    async def main(lab):
        r, w = ends("pty")
        await reader(lab, r)
        os.close(w)
        await lab.seen("lost")
        await lab.ticks()
        return True
    got = same(scenario(main))
    assert got["log"][1] == ["lost", ["OSError", "[Errno 5] Input/output error"]]


def test_reading_fails(same):
    """Anything else is told."""
    async def main(lab):
        p, w = await reading(lab)
        r = p.transport.get_extra_info("pipe").fd
        directory = os.open("/", os.O_RDONLY)
        os.dup2(directory, r)            # reading a directory: EISDIR
        os.close(directory)
        p.transport._read_ready()
        await lab.seen("closed")
        return True
    got = same(scenario(main))
    assert got["reports"][0]["message"] == "Fatal read error on pipe transport"


# ---- writing ----

@pytest.mark.parametrize("kind", KINDS)
def test_writing(same, kind, tmp_path):
    async def main(lab):
        r, w = ends(kind, tmp_path)
        if kind == "pty":
            r, w = w, r
        r = closing(lab, r)
        p = await writer(lab, w)
        t = p.transport
        info = [repr(t), os.get_blocking(w), t.can_write_eof(), t.get_write_buffer_size(), list(t.get_write_buffer_limits())]
        t.write(b"one ")
        t.write(bytearray(b"two "))
        t.write(memoryview(b"three "))
        t.write(b"")
        t.writelines([b"four ", b"five"])
        info.append(drain(r.fd))
        t.write_eof()
        info += [repr(t), t.is_closing()]
        t.write_eof()
        t.close()
        await lab.seen("lost")
        return info + [repr(t)]
    got = same(scenario(main))
    assert got["result"][5] == b"one two three four five"


@pytest.mark.parametrize("data", ["text", 5, None, [b"a"], object], ids=repr)
def test_data_of_a_wrong_type(same, data):
    async def main(lab):
        p, r = await writing(lab)
        got = outcome(p.transport.write, data)
        await lab.end(p)
        return got
    assert same(scenario(main))["result"][:2] == ["raised", "AssertionError"]


def test_memory_that_is_not_contiguous(same):
    async def main(lab):
        p, r = await writing(lab)
        p.transport.write(memoryview(b"abcdef")[::2])
        await lab.ticks()
        return p.transport.is_closing()
    got = same(scenario(main))
    assert got["result"] is True and got["reports"]


def test_water_marks(same):
    async def main(lab):
        p, r = await writing(lab)
        p.transport.set_write_buffer_limits(high=15_000, low=1000)
        fill(p)
        waiting = [p.transport.get_write_buffer_size(), repr(p.transport)]
        data = bytearray(b"y" * 10_000)
        p.transport.write(data)
        data[:] = b"Y" * 10_000
        waiting.append(p.transport.get_write_buffer_size())
        got = b""
        while not got.endswith(b"y" * 10_000):
            got += drain(r.fd)
            await asyncio.sleep(0)
        await lab.seen("resume")
        p.transport.write(b"tail")
        waiting += [drain(r.fd), p.transport.get_write_buffer_size(), repr(p.transport), b"Y" in got]
        await lab.end(p)
        return waiting
    got = same(scenario(main))
    assert got["log"] == [["made"], ["pause"], ["resume"], ["lost", None], ["closed", False]]


@pytest.mark.parametrize("how", ["close", "write_eof"])
def test_closing_writes_what_is_buffered(same, how):
    async def main(lab):
        p, r = await writing(lab)
        total = fill(p)
        p.transport.write(b"end")
        getattr(p.transport, how)()
        p.transport.write(b"too late")
        state = [p.transport.is_closing(), repr(p.transport), p.transport.get_write_buffer_size() > 0]
        await lab.ticks()
        state.append(len(lab.log))
        got = b""
        while len(got) < total + 3:
            got += drain(r.fd)
            await asyncio.sleep(0)
        await lab.seen("lost")
        return state + [got[-3:], len(got) - total]
    assert same(scenario(main))["result"][-2:] == [b"end", 3]


def test_aborting_drops_what_is_buffered(same):
    async def main(lab):
        p, r = await writing(lab)
        total = fill(p)
        p.transport.abort()
        state = [p.transport.is_closing(), repr(p.transport), p.transport.get_write_buffer_size()]
        await lab.seen("lost")
        return state + [len(drain(r.fd)) < total]
    assert same(scenario(main))["result"][-1] is True


@pytest.mark.parametrize("kind", ["pipe", "fifo", "socket"])
def test_the_reader_goes(same, kind, tmp_path):
    """Noticed without writing; an error only if something was still to be written."""
    async def main(lab, buffered):
        r, w = ends(kind, tmp_path)
        p = await writer(lab, w)
        if buffered:
            fill(p)
        os.close(r)
        await lab.seen("lost")
        p.transport.write(b"late")
        lost = [e for e in lab.log if e[0] == "lost"]
        return [p.transport.is_closing(), repr(p.transport), lost[0][1] is None]
    for buffered in (False, True):
        same(scenario(lambda lab: main(lab, buffered)))


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_writing_to_nobody(same, kind, tmp_path):
    async def main(lab):
        r, w = ends(kind, tmp_path)
        p = await writer(lab, w)
        os.close(r)
        p.transport.write(b"x")
        state = [p.transport.is_closing(), p.transport._conn_lost]
        for _ in range(7):
            p.transport.write(b"x")
        await lab.seen("lost")
        return state
    got = same(scenario(main))
    assert got["log"][1] == ["lost", ["BrokenPipeError", "[Errno 32] Broken pipe"]]
    assert got["records"] == [["WARNING", "pipe closed by peer or os.write(pipe, data) raised exception."]] * 3


def test_writing_after_closing(same):
    async def main(lab):
        p, r = await writing(lab)
        p.transport.close()
        for _ in range(7):
            p.transport.write(b"x")
        await lab.seen("lost")
        p.transport.write(b"x")
        return [drain(r.fd), p.transport._conn_lost]
    got = same(scenario(main))
    assert got["result"] == [b"", 8] and len(got["records"]) == 3


def test_writing_in_resume_writing(same):
    async def main(lab):
        def more(p):
            p.transport.write(b"from resume")
        p, r = await writing(lab, resume_writing=more)
        p.transport.set_write_buffer_limits(high=0)
        fill(p)
        got = b""
        while not got.endswith(b"from resume"):
            got += drain(r.fd)
            await asyncio.sleep(0)
        await lab.end(p)
        return True
    same(scenario(main))


def test_closing_in_resume_writing(aio):
    """asyncio calls connection_lost() twice here, and reports that the second fails: it is lost once."""
    def run(aio):
        async def main(lab):
            p, r = await writing(lab, resume_writing=lambda p: p.transport.close())
            p.transport.set_write_buffer_limits(high=0)
            fill(p)
            while ["lost", None] not in lab.log:
                drain(r.fd)
                await asyncio.sleep(0)
            await lab.ticks()
            return True
        return scenario(main)(aio)
    got = run(aio)
    assert got["log"] == [["made"], ["pause"], ["resume"], ["lost", None], ["closed", False]]
    assert aio is asyncio or quiet(got)


@pytest.mark.parametrize("event", ["pause_writing", "resume_writing", "connection_lost"], ids=["pause", "resume", "lost"])
def test_a_callback_of_the_writer_fails(same, event):
    async def main(lab):
        def bad(p, *args):
            raise ZeroDivisionError(event)
        p, r = await writing(lab, **{event: bad})
        p.transport.set_write_buffer_limits(high=0)
        fill(p)
        while p.transport.get_write_buffer_size():
            drain(r.fd)
            await asyncio.sleep(0)
        p.transport.close()
        await lab.seen("closed")
        return True
    got = same(scenario(main))
    assert len(got["reports"]) == 1


# ---- both ----

def test_one_descriptor_for_both(same):
    """A pseudo-terminal's is read and written by two transports."""
    async def main(lab):
        master, slave = pty.openpty()
        tty.setraw(slave)
        slave = closing(lab, slave)
        p = await reader(lab, master, "r")
        q = Recorder(lab.log, "w")

        class Shared(File):
            def close(self):
                self.log.append(["writer closed"])
        await lab.loop.connect_write_pipe(lambda: q, Shared(master, lab.log))
        q.transport.write(b"to the program")
        await lab.ticks()
        got = [drain(slave.fd)]
        os.write(slave.fd, b"from the program")
        await lab.seen("data")
        p.transport.pause_reading()
        q.transport.write(b" again")
        p.transport.resume_reading()
        await lab.ticks()
        got.append(drain(slave.fd))
        p.transport.pause_reading()      # closing the writer ends asyncio's reader, too
        q.transport.close()
        await lab.seen("writer closed")
        p.transport.close()
        await lab.seen("closed")
        return got
    got = same(scenario(main))
    assert ["r", "data", b"from the program"] in got["log"] and got["result"] == [b"to the program", b" again"]


def test_regular_files_are_refused(same, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"data")

    async def main(lab):
        got = []
        for connect in (lab.loop.connect_read_pipe, lab.loop.connect_write_pipe):
            with open(path, "r+b", buffering=0) as f:
                try:
                    await connect(lambda: Recorder(lab.log), f)
                except ValueError as e:
                    got.append(str(e))
                got += [f.closed, os.get_blocking(f.fileno())]
        gc.collect()
        return got
    got = same(scenario(main))
    assert got["log"] == [] and got["result"][1] is False


def test_no_pipe_at_all(same):
    async def main(lab):
        got = []
        for connect in (lab.loop.connect_read_pipe, lab.loop.connect_write_pipe):
            try:
                await connect(lambda: Recorder(lab.log), None)
            except AttributeError as e:
                got.append(clean(e))
        return got
    assert len(same(scenario(main))["result"]) == 2


def test_extra_info_and_classes(same):
    async def main(lab):
        r, w = ends("pipe")
        p, q = await reader(lab, r), await writer(lab, w)
        got = []
        for t in (p.transport, q.transport):
            got += [repr(t.get_extra_info("pipe")), t.get_extra_info("socket"), t.get_extra_info("nothing", 3), t._pipe is t._extra["pipe"],
                    t._fileno == t._pipe.fd, t._closing, isinstance(t, asyncio.ReadTransport), isinstance(t, asyncio.WriteTransport),
                    isinstance(t, asyncio.Transport), hasattr(t, "abort"), hasattr(t, "write"), t.is_closing()]
        q.transport.close()
        await lab.until(lambda: sum(e[0] == "lost" for e in lab.log) == 2)
        return got + [p.transport._pipe, q.transport._pipe, q.transport._protocol]
    same(scenario(main))


@pytest.mark.parametrize("kind", ["read", "write"])
def test_forgotten(aio, loop, kind):
    log = []
    r, w = os.pipe()
    fd, other = (r, w) if kind == "read" else (w, r)
    connect = loop.connect_read_pipe if kind == "read" else loop.connect_write_pipe

    async def main():
        transport, _ = await connect(asyncio.Protocol, File(fd, log))
        if kind == "read":
            transport.pause_reading()
        else:
            loop._remove_reader(fd)
        return transport
    transport = loop.run_until_complete(main())
    with pytest.warns(ResourceWarning, match="unclosed transport <"):
        del transport
        gc.collect()
    assert log == [["closed", False]]
    os.close(other)


def test_user_removes_the_reader(same):
    async def main(lab):
        p, w = await reading(lab)
        r = p.transport.get_extra_info("pipe").fd
        got = [lab.loop.remove_reader(r), lab.loop.remove_reader(r)]
        os.write(w.fd, b"unseen")
        await lab.ticks()
        got.append(len(lab.log))
        await lab.end(p)
        return got
    assert same(scenario(main))["result"] == [True, False, 1]


def test_debug_mode(same):
    async def main(lab):
        r, w = ends("pipe")
        p, q = await reader(lab, r), await writer(lab, w, "w")
        p.transport.pause_reading()
        p.transport.resume_reading()
        q.transport.write(b"data")
        q.transport.close()
        await lab.seen("closed", 2)
        r, w = ends("pipe")
        q = await writer(lab, w, "w")
        os.close(r)
        q.transport.write(b"nobody")
        await lab.seen("closed", 3)
        r, w = ends("pipe")
        q = await writer(lab, w, "w")
        os.close(r)
        await lab.seen("closed", 4)
        return True
    def run(aio):
        got = scenario(main, debug=True)(aio)
        got["records"] = [[level, re.sub(r"pipe \d+", "pipe N", text)] for level, text in got["records"]]
        return got
    got = same(run)
    assert any("was closed by peer" in text for _, text in got["records"])


def test_context_of_the_callbacks(same):
    var = contextvars.ContextVar("var", default="none")

    async def main(lab):
        def note(p, *args):
            p.log.append(var.get())
            var.set("changed")
        r, w = ends("pipe")
        w = closing(lab, w)
        var.set("creation")
        await reader(lab, r, connection_made=note, data_received=note, eof_received=note, connection_lost=note)
        var.set("later")
        os.write(w.fd, b"1")
        await lab.seen("data")
        os.write(w.fd, b"2")
        await lab.ticks()
        var.set("closing")
        w.close()
        await lab.seen("closed")
        return var.get()
    same(scenario(main))


def test_a_closed_loop(same):
    def run(aio):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            with Lab(aio) as lab:
                r, w = ends("pipe")
                p, q = lab.run(reader(lab, r)), lab.run(writer(lab, w))
                fill(q)
                lab.loop.close()
                got = [repr(p.transport), repr(q.transport), outcome(p.transport.close, text=False), outcome(q.transport.abort, text=False)]
                del p, q
                gc.collect()
        return clean(got)
    same(run)


def test_streams_over_pipes(same):
    async def main(lab):
        r, w = os.pipe()
        stream = asyncio.StreamReader(loop=lab.loop)
        await lab.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream, loop=lab.loop), os.fdopen(r, "rb"))
        transport, protocol = await lab.loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(lab.loop), os.fdopen(w, "wb"))
        out = asyncio.StreamWriter(transport, protocol, None, lab.loop)
        out.write(b"line 1\nline 2\n")
        await out.drain()
        lines = [await stream.readline(), await stream.readline()]
        task = lab.loop.create_task(stream.read())
        for _ in range(5):
            out.write(b"x" * 100_000)
            await out.drain()
        out.close()
        return lines + [len(await task)]
    assert same(scenario(main))["result"] == [b"line 1\n", b"line 2\n", 500_000]
