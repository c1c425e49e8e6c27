"""For tests of streams, over a Lab (lab.py): servers, connected readers and writers."""
from lab import clean
from support import scrub


async def told(awaitable):
    """What awaiting it does, comparable."""
    try:
        return ["returned", clean(await awaitable)]
    except BaseException as exc:
        return ["raised", type(exc).__name__, scrub(str(exc))]


async def serve(lab, callback, kind="tcp", path=None, **kwargs):
    """A server and a function that connects to it."""
    if kind == "tcp":
        server = await lab.aio.start_server(callback, "127.0.0.1", 0, **kwargs)
        address = server.sockets[0].getsockname()
        return server, lambda **kw: lab.aio.open_connection(*address, **kw)
    server = await lab.aio.start_unix_server(callback, path, **kwargs)
    return server, lambda **kw: lab.aio.open_unix_connection(path, **kw)


async def pair(lab, kind="tcp", sndbuf=None, **kwargs):
    """A reader and a writer, and the bare socket at the other end."""
    sock, peer = lab.pair(kind, sndbuf)
    reader, writer = await lab.aio.open_connection(sock=sock, **kwargs)
    return reader, writer, peer


async def finish(*writers):
    for writer in writers:
        writer.close()
    return [await told(writer.wait_closed()) for writer in writers]
