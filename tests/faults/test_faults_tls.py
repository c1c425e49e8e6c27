"""TLS when its own memory or a system call below it fails in the middle of a record, with each way of encrypting."""
import errno

import pytest

TLS = '''
import ssl
from pyasync._core import _use_tls_engine

def contexts(path):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=path)

async def secured(loop, path, engine):
    """Transports and protocols of both ends."""
    _use_tls_engine(engine)
    server, client = contexts(path)
    a, b = socket.socketpair()
    near = Note()
    serving = asyncio.ensure_future(loop.connect_accepted_socket(lambda: near, a, ssl=server))
    t, far = await loop.create_connection(Note, sock=b, ssl=client, server_hostname="localhost")
    await serving
    await asyncio.sleep(0.01)
    assert t._ssl_protocol._engine == engine
    return near, far

def is_over(p):
    return any(entry[0] == "lost" for entry in p.log)

async def end(*protocols):
    clear()
    for p in protocols:
        p.transport.abort()
    await until(lambda: all(is_over(p) for p in protocols))

def begins(got, whole):
    assert bytes(got) == whole[:len(got)], "other data than were written"
'''

engines = pytest.mark.parametrize("engine", ["bio", "openssl"])


@engines
def test_memory_fails_in_the_middle_of_a_record(served, certificate, engine):
    """The n-th allocation of the C half fails: what arrives is the beginning of what was written, and all of it where both ends go on."""
    served('''
whole = b"".join(bytes([65 + i]) * size for i, size in enumerate((1, 16384, 300, 40000, 5)))
failed = 0
for nth in range(1, 40):
    near, far = await secured(loop, path, engine)
    clear()
    fault("malloc", nth, errno.ENOMEM)
    try:
        far.transport.write(whole[:20_000])
        far.transport.writelines([whole[20_000:30_000], bytearray(whole[30_000:])])
    except MemoryError:
        pass
    deadline = time.monotonic() + 10
    while not (len(near.data) == len(whole) or is_over(near) or is_over(far)):
        assert time.monotonic() < deadline, f"allocation {nth}: {len(near.data)} bytes came, and nobody says why"
        await asyncio.sleep(0.001)
    begins(near.data, whole)
    used = count("malloc")
    failed += used >= nth
    for p in (near, far):
        for entry in p.log:
            assert entry[0] != "lost" or entry[1] is None or isinstance(entry[1], (MemoryError, OSError)), entry
    await end(near, far)
    if used < nth:
        break
else:
    raise AssertionError("it never came to its end")
for context in reports:
    assert isinstance(context["exception"], (MemoryError, OSError)), context
''', define=TLS, path=certificate, engine=engine, reports=None)


@engines
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_records_in_pieces(served, certificate, engine, limit):
    """However little each call moves, every byte arrives in order."""
    served('''
near, far = await secured(loop, path, engine)
for call in ("send", "sendmsg", "recv"):
    fault(call, -1, 0, limit)
parts = [bytes([65 + i % 26]) * (i * 13 % 90) for i in range(60)]
for i, part in enumerate(parts):
    far.transport.write(part)
    near.transport.write(part)
    if i % 10 == 0:
        await asyncio.sleep(0)
whole = b"".join(parts)
await until(lambda: len(near.data) == len(whole) == len(far.data))
assert bytes(near.data) == whole == bytes(far.data)
await end(near, far)
''', define=TLS, path=certificate, engine=engine, limit=limit)


@engines
@pytest.mark.parametrize("error", [errno.ECONNRESET, errno.EPIPE, errno.ENOBUFS, errno.ETIMEDOUT])
@pytest.mark.parametrize("call", ["send", "sendmsg", "recv"])
def test_a_call_below_fails(served, certificate, engine, call, error):
    """The application is told of that error, and of no other."""
    served('''
near, far = await secured(loop, path, engine)
clear()
fault(call, 1, error)
far.transport.write(b"x" * 50_000)
await until(lambda: is_over(near) or is_over(far) or len(near.data) == 50_000)
used = count(call)
if used:
    await until(lambda: is_over(near) or is_over(far))
    lost = [entry[1] for p in (near, far) for entry in p.log if entry[0] == "lost" and entry[1] is not None]
    assert any(exc.errno == error for exc in lost), lost
await end(near, far)
''', define=TLS, path=certificate, engine=engine, call=call, error=error)
