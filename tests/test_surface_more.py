"""What the objects look like from outside that are no classes of asyncio's public names: transports, processes and their protocols, and
what the coroutine functions return. As test_surface.py has it for the public ones."""
import asyncio
import contextlib
import copy
import inspect
import os
import pickle
import re
import socket
import sys
import weakref

import pytest

from lab import clean
from support import PY, fresh_loop, none, nonblocking_pair, outcome, scrub, spin
from test_surface import attribute_added

BASES = [asyncio.BaseTransport, asyncio.ReadTransport, asyncio.WriteTransport, asyncio.Transport, asyncio.DatagramTransport,
         asyncio.SubprocessTransport, asyncio.BaseProtocol, asyncio.Protocol, asyncio.BufferedProtocol, asyncio.SubprocessProtocol,
         asyncio.AbstractServer, asyncio.Future]
if PY < (3, 12):
    BASES.remove(asyncio.DatagramTransport)                # asyncio's own datagram transport is none there


@contextlib.contextmanager
def transports(aio, loop):
    """{kind: one that is open}"""
    async def open_all():
        r, w = os.pipe()
        datagram, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=a)
        reading, _ = await loop.connect_read_pipe(asyncio.Protocol, open(r, "rb", 0))
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(w, "wb", 0))
        process = await aio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1, stdout=-1)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        await asyncio.sleep(0)
        return {"datagram": datagram, "read pipe": reading, "write pipe": writing, "process": process,
                "process's transport": process._transport, "process's protocol": process._protocol, "process's reader": process.stdout,
                "server": server}

    async def close_all():
        for name in ("datagram", "read pipe", "write pipe", "server"):
            made[name].close()
        made["process"].kill()
        await made["process"].wait()
    a, b = nonblocking_pair(socket.SOCK_DGRAM)
    made = loop.run_until_complete(open_all())
    try:
        yield made
    finally:
        loop.run_until_complete(close_all())
        spin(loop, 4)
        b.close()


@contextlib.contextmanager
def coroutines(aio, loop):
    """{what was called: what it returned, not awaited}"""
    async def call_all():
        one = nonblocking[0]
        return {
            "sleep(0)": aio.sleep(0), "sleep(1)": aio.sleep(1), "wait": aio.wait([loop.create_future()]),
            "wait_for": aio.wait_for(never, 1), "to_thread": aio.to_thread(int),
            "get": aio.Queue().get(), "put": aio.Queue().put(1), "join": aio.Queue().join(),
            "acquire": aio.Lock().acquire(), "Lock.__aenter__": aio.Lock().__aenter__(), "Event.wait": aio.Event().wait(),
            "Condition.wait": aio.Condition().wait(), "Condition.wait_for": aio.Condition().wait_for(int),
            "Barrier.wait": aio.Barrier(1).wait(),
            "TaskGroup.__aenter__": aio.TaskGroup().__aenter__(), "Timeout.__aenter__": aio.timeout(1).__aenter__(),
            "start_server": aio.start_server(none, "127.0.0.1", 0), "open_connection": aio.open_connection("127.0.0.1", 1),
            "sock_recv": loop.sock_recv(one, 10), "sock_recv_into": loop.sock_recv_into(one, bytearray(1)),
            "sock_recvfrom": loop.sock_recvfrom(one, 10), "sock_recvfrom_into": loop.sock_recvfrom_into(one, bytearray(1)),
            "sock_sendall": loop.sock_sendall(one, b""), "sock_sendto": loop.sock_sendto(one, b"", "x"),
            "sock_accept": loop.sock_accept(one),
            "sock_connect": loop.sock_connect(one, "x"), "getaddrinfo": loop.getaddrinfo("127.0.0.1", 1),
            "create_connection": loop.create_connection(asyncio.Protocol, "127.0.0.1", 1), "shutdown_asyncgens": loop.shutdown_asyncgens(),
        }
    never, nonblocking = none(), nonblocking_pair()
    made = loop.run_until_complete(call_all())
    try:
        yield made
    finally:
        for coroutine in [never, *made.values()]:
            coroutine.close()
        for sock in nonblocking:
            sock.close()


def same_for_all(same, kinds, look):
    def scenario(aio):
        with fresh_loop(aio) as loop, kinds(aio, loop) as made:
            return [[name, look(obj)] for name, obj in made.items()]
    return same(scenario)


@pytest.fixture(params=[transports, coroutines], ids=["transports", "coroutines"])
def kinds(request):
    return request.param


def test_pickling(same, kinds):
    same_for_all(same, kinds, lambda obj: [outcome(lambda: pickle.dumps(obj, protocol) and 1, text=False)[0] for protocol in (2, 5)])


def test_deep_copies(same):
    """Of transports asyncio makes halves before it fails."""
    same_for_all(same, coroutines, lambda obj: outcome(lambda: copy.deepcopy(obj) and 1, text=False)[0])


def test_weak_references(same, kinds):
    same_for_all(same, kinds, lambda obj: outcome(lambda: weakref.ref(obj)() is obj, text=False))


def test_attributes_can_be_added(same, kinds):
    same_for_all(same, kinds, attribute_added)


def test_hashes_and_equality(same, kinds):
    same_for_all(same, kinds, lambda obj: [obj == obj, obj != obj, obj == 1, outcome(hash, obj, text=False)[0], bool(obj)])


def test_repr(same, kinds):
    def look(obj):
        text = clean(scrub(re.sub(r"\b(pid=|fd=|Process )\d+", r"\1N", repr(obj))))
        return text, str(obj) == repr(obj)
    same_for_all(same, kinds, look)


def test_of_what_they_are_instances(same, kinds):
    same_for_all(same, kinds, lambda obj: [base.__name__ for base in BASES if isinstance(obj, base)])


def test_names_of_coroutines(same):
    """What a warning, a task's repr and a debugger say of it."""
    def look(obj):
        return [asyncio.iscoroutine(obj), inspect.isawaitable(obj), asyncio.isfuture(obj), obj.__name__, obj.__qualname__,
                obj.cr_code.co_name, obj.cr_running, obj.cr_await, obj.cr_origin]
    same_for_all(same, coroutines, look)


def members(obj):
    """Public names, and how those are called that can be."""
    # asyncio's writing pipes have no limit to what is read at a time
    names = [name for name in dir(obj) if not name.startswith("_") and name != "max_size"]
    return [(name, str(inspect.signature(getattr(obj, name))).replace(", /", "").replace("(/)", "()")
             if callable(getattr(obj, name)) else None) for name in names]


def test_public_members_of_transports(same):
    same_for_all(same, transports, members)


def test_of_connections(same, tls):
    """Streams in plain and in TLS: the transports of both sides, and what a stream's protocol and TLS's are."""
    def scenario(aio):
        seen = []

        def look(obj):
            seen.append([members(obj), outcome(lambda: weakref.ref(obj)() is obj, text=False), outcome(pickle.dumps, obj, text=False)[0],
                         [base.__name__ for base in BASES if isinstance(obj, base)]])

        async def serve(reader, writer):
            served.append(writer.transport)
            await reader.read()
            writer.close()

        async def main():
            for options, theirs in [({}, {}), ({"ssl": tls.client(), "server_hostname": "localhost"}, {"ssl": tls.server()})]:
                server = await aio.start_server(serve, "127.0.0.1", 0, **theirs)
                reader, writer = await aio.open_connection(*server.sockets[0].getsockname(), **options)
                while not served:
                    await asyncio.sleep(0.001)
                for transport in (writer.transport, served.pop()):
                    look(transport)
                look(writer.transport.get_protocol())
                if options:
                    look(writer.transport._ssl_protocol)
                writer.close()
                await writer.wait_closed()
                server.close()
                await server.wait_closed()
        served = []
        aio.run(main())
        return seen
    same(scenario)
