"""What a transport has put off to the end of the tick goes out before whatever else ends the connection, or copies the process."""
import asyncio
import os
import socket
import ssl

import pytest

from support import PY, fresh_loop

ENDS = ["raise", "cancel", "close below", "abort below", "write_eof below"] + (["close_clients", "abort_clients"] if PY >= (3, 13) else [])


def end(how, transport, server):
    below = transport._ssl_protocol._transport
    if how == "raise":
        raise ValueError(how)
    if how == "cancel":
        raise asyncio.CancelledError
    name, of_below, _ = how.partition(" below")
    getattr(below if of_below else server, name)()


@pytest.mark.parametrize("how", ENDS)
def test_written_before_a_tls_connection_ends(same, certificate, how):
    """asyncio has sent by the time write() returns."""
    def scenario(aio):
        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(b"the last words")
                end(how, self.transport, server)

        def client(port):
            context = ssl.create_default_context(cafile=certificate)
            with socket.create_connection(("127.0.0.1", port)) as raw:
                with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=True) as s:
                    s.sendall(b"well?")
                    got = b""
                    try:
                        while data := s.recv(100):
                            got += data
                    except OSError:                      # how it ended is another test's
                        pass
                    return got

        async def main():
            nonlocal server
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            loop = asyncio.get_running_loop()
            server = await loop.create_server(Server, "127.0.0.1", 0, ssl=context)
            got = await loop.run_in_executor(None, client, server.sockets[0].getsockname()[1])
            server.close()
            await asyncio.sleep(0.01)
            return got
        server = None
        with fresh_loop(aio) as loop:
            loop.set_exception_handler(lambda loop, context: None)
            return loop.run_until_complete(main())
    assert same(scenario) == b"the last words"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_written_before_a_fork_is_sent_once(aio, script):
    """The child's loop unwinds, and has a copy of everything."""
    if aio is asyncio:
        pytest.skip("the child takes the descriptors out of the poller that the parent waits with, too")
    done = script("""
import os, socket, threading
got = []

class Server(aio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"answer")
        child = os.fork()
        if child == 0:
            raise SystemExit
        os.waitpid(child, 0)
        self.transport.close()

def client(port):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"question")
        answer = b""
        while data := s.recv(100):
            answer += data
        return answer

async def main():
    loop = aio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    read, write = os.pipe()
    if (asker := os.fork()) == 0:
        os.write(write, client(port))
        os._exit(0)
    os.close(write)
    answer = await loop.run_in_executor(None, os.read, read, 100)
    os.close(read)
    os.waitpid(asker, 0)
    server.close()
    print(answer)

aio.run(main())
""", flags=("-W", "ignore::DeprecationWarning"))
    assert (done.stdout, done.returncode) == ("b'answer'\n", 0), done.stderr
