"""nomem.py's cases of TLS, with each way of encrypting: an allocation fails in the middle of a record that is received or sent.

Either the connection ends, or nothing of it is missing: what has arrived is always the beginning of what was sent, and a connection that
goes on brings all of it. The far end is an SSLObject moved by hand, so that only one end is short of memory.
"""
import asyncio
import contextlib
import socket
import ssl

from cases_tls import contexts
from pyasync import _core

ENGINES = ("bio", "openssl")
RECORDS = [bytes([65 + i]) * size for i, size in enumerate((10, 16384, 3000, 1))]
ALL = b"".join(RECORDS)


class Notes(asyncio.Protocol):
    def __init__(self):
        self.data, self.lost = bytearray(), False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def connection_lost(self, exc):
        self.lost = True


class Buffered(Notes, asyncio.BufferedProtocol):
    def __init__(self):
        super().__init__()
        self.buffer = memoryview(bytearray(5000))

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data_received(self.buffer[:nbytes])


class Connection:
    """A server's protocol `near` on the loop; the client by hand."""

    def __init__(self, loop, ticks, engine, make):
        self.loop, self.ticks = loop, ticks
        server, client = contexts()
        sock, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.obj = client.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.near = make()
        _core._use_tls_engine(engine)
        task = loop.create_task(loop.connect_accepted_socket(lambda: self.near, sock, ssl=server))
        while not self.step(self.obj.do_handshake) or not task.done():
            ticks(loop, 1)
        task.result()
        self.step(lambda: self.obj.read(1))          # session tickets
        _core._use_tls_engine("auto")
        assert self.near.transport._ssl_protocol._engine == engine

    def step(self, function):
        """Does it with what has arrived, and sends what comes of it. False if more is needed."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            if data := self.sock.recv(1 << 20):
                self.incoming.write(data)
            else:
                self.incoming.write_eof()
        try:
            function()
            done = True
        except ssl.SSLWantReadError:
            done = False
        self.flush()
        return done

    def flush(self):
        with contextlib.suppress(ConnectionError):
            if self.outgoing.pending:
                self.sock.send(self.outgoing.read())

    def received(self):
        """What the far end has got, and whether it is the end of the stream."""
        data, over = bytearray(), []

        def read():
            while True:
                try:
                    piece = self.obj.read(1 << 16)
                except ssl.SSLWantReadError:
                    return
                except ssl.SSLError:
                    piece = b""
                if not piece:
                    return over.append(True)
                data.extend(piece)
        for _ in range(4):
            self.ticks(self.loop, 2)
            self.step(read)
        return bytes(data), bool(over)

    def end(self):
        self.near.transport.abort()
        self.ticks(self.loop, 3)
        self.sock.close()


def add(case, ticks):
    """Makes the cases known to nomem.py: case(function), ticks(loop, count). What it returns looks at a run's connection, when there is
    memory again."""
    last = []

    def look_back():
        while last:
            last.pop()()

    def receiving(loop, engine, make):
        connection = Connection(loop, ticks, engine, make)
        for record in RECORDS:
            connection.obj.write(record)
        wire = connection.outgoing.read()
        connection.sock.send(wire[:9000])            # the first record, and half of the second
        ticks(loop, 2)
        connection.sock.send(wire[9000:])

        def look():
            near = connection.near
            ticks(loop, 4)
            if make is Notes:                        # with a full buffer asyncio, too, reads once more after buffer_updated() failed
                assert near.data == ALL[:len(near.data)], "other data than were sent"
            assert near.lost or near.data == ALL, f"only {len(near.data)} of {len(ALL)} bytes, and the connection goes on"
            connection.end()
        last.append(look)
        return lambda: ticks(loop, 3)

    def sending(loop, engine, make):
        connection = Connection(loop, ticks, engine, make)
        written = []

        def act():
            t = connection.near.transport
            for record in RECORDS:
                t.write(record)
                written.append(record)
            t.writelines(RECORDS)
            written.extend(RECORDS)
            ticks(loop, 3)

        def look():
            data, over = connection.received()
            whole = b"".join(RECORDS) * 2
            assert data == whole[:len(data)], "other data than were written"
            assert over or len(data) >= sum(map(len, written)), f"only {len(data)} bytes, and the connection goes on"
            connection.end()
        last.append(look)
        return act

    for engine in ENGINES:
        for name, body, make in (("receive", receiving, Notes), ("receive_buffered", receiving, Buffered), ("send", sending, Notes)):
            def prepare(loop, body=body, engine=engine, make=make):
                return body(loop, engine, make)
            prepare.__name__ = f"tls_{name}_{engine}"
            case(prepare)
    return look_back
