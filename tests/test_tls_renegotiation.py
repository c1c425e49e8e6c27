"""Renegotiation in TLS 1.2 and new keys in TLS 1.3, asked for by OpenSSL's own programs: ssl has no call for either."""
import asyncio
import contextlib
import os
import shutil
import signal
import ssl

import pytest

from lab_tls import silent, tls_scenario
from support import free_port

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")

ALLOW_CLIENT_RENEGOTIATION = 1 << 8              # SSL_OP_ALLOW_CLIENT_RENEGOTIATION, OpenSSL 3; ssl has no name for it


@contextlib.asynccontextmanager
async def openssl(lab, *args):
    """s_client or s_server, which take single letters as commands at the beginning of a line."""
    process = await asyncio.create_subprocess_exec("openssl", *args, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                                                   stderr=asyncio.subprocess.STDOUT)
    said = bytearray()

    async def collect():
        while data := await process.stdout.read(1 << 16):
            said.extend(data)
    task = asyncio.ensure_future(collect())
    try:
        yield process, said
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)     # Popen's own would reap it first, which asyncio warns of on 3.11
        await process.wait()
        process.stdin.close()
        await asyncio.wait([task], timeout=5)


def tell(process, line):
    process.stdin.write(line)


async def served(lab, tls, context, version, command):
    """A server under test with s_client connected to it: data, the command, data again."""
    server = await lab.loop.create_server(lambda: lab.protocol(data_received=lambda p, data: p.transport.write(b"echo " + data)),
                                          "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with openssl(lab, "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2" if version == "TLSv1_2" else "-tls1_3") as (process,
                                                                                                                               said):
        tell(process, b"before\n")
        await lab.until(lambda: b"echo before" in said)
        tell(process, command)
        await lab.until(lambda: b"RENEGOTIATING" in said or b"KEYUPDATE" in said)
        tell(process, b"after\n")
        await lab.until(lambda: b"echo after" in said or any("lost" in e for e in lab.log))
        found = b"echo after" in said
    await lab.seen("lost")
    server.close()
    await server.wait_closed()
    return found


def test_a_client_may_not_renegotiate(same, tls):
    """OpenSSL refuses it with a warning, and s_client takes that for the end."""
    async def main(lab):
        return await served(lab, tls, tls.server("TLSv1_2"), "TLSv1_2", b"R\n")
    got = same(tls_scenario(main))
    assert got["result"] is False and got["log"][:2] == [["made"], ["data", b"before\n"]] and silent(got)


def test_a_client_that_may_renegotiate(same, tls):
    """Where the context says so, data go on in both directions."""
    async def main(lab):
        context = tls.server("TLSv1_2")
        context.options |= ALLOW_CLIENT_RENEGOTIATION
        return await served(lab, tls, context, "TLSv1_2", b"R\n")
    got = same(tls_scenario(main))
    assert got["result"] is True and got["log"][1] == ["data", b"before\nafter\n"]


@pytest.mark.parametrize("command", [b"k\n", b"K\n"], ids=["its own", "both"])
def test_a_client_that_takes_new_keys(same, tls, command):
    async def main(lab):
        return await served(lab, tls, tls.server("TLSv1_3"), "TLSv1_3", command)
    got = same(tls_scenario(main))
    assert got["result"] is True and got["log"][1] == ["data", b"before\nafter\n"]


async def connected(lab, tls, context, version, command, buffered=False):
    """A client under test connected to s_server."""
    port = free_port()
    flag = "-tls1_2" if version == "TLSv1_2" else "-tls1_3"
    async with openssl(lab, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", tls.certificate, flag) as (process, said):
        await lab.until(lambda: b"ACCEPT" in said)
        p = lab.protocol(buffered=buffered)
        t, _ = await lab.loop.create_connection(lambda: p, "127.0.0.1", port, ssl=context, server_hostname="localhost")
        t.write(b"hello\n")
        await lab.until(lambda: b"hello" in said)
        tell(process, b"before\n")
        await lab.seen(b"before\n")
        tell(process, command)
        if version == "TLSv1_2":
            await lab.until(lambda: b"SSL_do_handshake ->" in said)
        else:
            await asyncio.sleep(0.3)                 # s_server says nothing of new keys, and must read the next line by itself
        t.write(b"answer\n")
        tell(process, b"after\n")
        await lab.until(lambda: b"answer" in said and any(e[-1] == b"before\nafter\n" for e in lab.log)
                        or any("lost" in e for e in lab.log))
        found = b"answer" in said
        t.abort()
        await lab.seen("lost")
    return found


@pytest.mark.parametrize("command, version", [(b"r\n", "TLSv1_2"), (b"R\n", "TLSv1_2"), (b"k\n", "TLSv1_3"), (b"K\n", "TLSv1_3")],
                         ids=["renegotiate", "renegotiate with certificate", "its own keys", "both keys"])
def test_a_server_that_wants_it(same, tls, command, version):
    async def main(lab):
        return await connected(lab, tls, tls.client(version), version, command)
    got = same(tls_scenario(main))
    assert got["result"] is True and got["log"] == [["made"], ["data", b"before\nafter\n"], ["lost", None]]


def test_a_client_that_refuses(same, tls):
    async def main(lab):
        context = tls.client("TLSv1_2")
        context.options |= ssl.OP_NO_RENEGOTIATION
        await connected(lab, tls, context, "TLSv1_2", b"r\n")
        return 1
    got = same(tls_scenario(main))
    assert got["log"][:2] == [["made"], ["data", b"before\n"]]
