"""What really fails in a running system: full devices, small pipes, no descriptors left, files that change while they are sent, hundreds of
children at once. (tests/faults/ makes single system calls fail instead.)"""
import asyncio
import contextlib
import fcntl
import gc
import os
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from lab import reset, scenario
from lab_tls import CLOSE_NOTIFY, failure, secure, sides, silent, tls_scenario, versions
from support import no_descriptors, outcome
from test_subprocesses import children

PIPE = asyncio.subprocess.PIPE


# ---- devices and pipes ----

@pytest.mark.parametrize("debug", [False, True])
def test_a_full_device(same, debug):
    """ENOSPC ends the transport as any other error of a write."""
    async def main(lab):
        transport, protocol = await lab.loop.connect_write_pipe(lambda: lab.protocol(), open("/dev/full", "wb", 0))
        transport.write(b"nowhere to go")
        found = [transport.is_closing(), transport.get_write_buffer_size()]
        transport.write(b"once more")
        await lab.seen("lost")
        lab.records.records[:] = [r for r in lab.records.records if not r[1].startswith("Write pipe")]       # with its number
        return found
    got = same(scenario(main, debug))
    assert got["log"][-1][1][0] == "OSError" and "No space left" in got["log"][-1][1][1] and got["reports"] == []


@pytest.mark.skipif(os.environ.get("PYASYNC_POLLER") == "poll", reason="poll() can")
def test_a_device_that_cannot_be_waited_for(same):
    """epoll refuses /dev/zero; who asked is told, or the handler."""
    async def main(lab):
        with open("/dev/zero", "rb", 0) as file:
            found = await failure(asyncio.wait_for(lab.loop.connect_read_pipe(lambda: lab.protocol(), file), 0.2))
            await lab.ticks()
            lab.log.append([[c["message"].split(" ")[:3], type(c["exception"]).__name__] for c in lab.errors.take()])
            gc.collect()
        return found[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        same(scenario(main))


@pytest.mark.parametrize("end", ["close", "write_eof", "reader goes"])
def test_a_very_small_pipe(same, end):
    """EAGAIN at nearly every write: everything comes, once and in order, and the writer is paused and resumed."""
    async def main(lab):
        r, w = os.pipe()
        fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(r, False)
        transport, protocol = await lab.loop.connect_write_pipe(lambda: lab.protocol(), os.fdopen(w, "wb", 0))
        data = bytes(range(256)) * 800
        for i in range(0, len(data), 999):
            transport.write(data[i:i + 999])
        got = bytearray()
        if end == "close":
            transport.close()
        elif end == "write_eof":
            transport.write_eof()
        while True:
            try:
                piece = os.read(r, 700)
            except BlockingIOError:
                if len(got) == len(data):
                    break
                await asyncio.sleep(0)
                continue
            if not piece:
                break
            got += piece
            if end == "reader goes" and len(got) > 10_000:
                break
        os.close(r)
        await lab.seen("lost")
        return data.startswith(got), end == "reader goes" or len(got) == len(data)
    got = same(scenario(main))
    assert got["result"] == [True, True] and ["pause"] in got["log"]


# ---- no descriptors left ----

@pytest.mark.parametrize("left", range(0, 8))
@pytest.mark.parametrize("what", ["open_connection", "create_server", "datagram", "subprocess", "subprocess with pipes", "unix",
                                  "executor"])
def test_without_descriptors(same, what, left, tmp_path):
    """Opening fails as the system says, leaks nothing, and the loop works on."""
    async def main(lab):
        loop = lab.loop
        server = await lab.aio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        # the first use of a child opens what lives as long as the process does
        await (await lab.aio.create_subprocess_exec("true")).wait()
        await loop.run_in_executor(None, int)

        async def attempt():
            if what == "open_connection":
                reader, writer = await lab.aio.open_connection(*address)
                writer.close()
                return await failure(writer.wait_closed())
            if what == "create_server":
                (await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)).close()
            elif what == "datagram":
                (await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)))[0].close()
            elif what == "unix":
                return await loop.create_unix_connection(asyncio.Protocol, str(tmp_path / "nobody"))
            elif what == "executor":
                return await loop.run_in_executor(None, os.getpid) == os.getpid()
            else:
                p = await lab.aio.create_subprocess_exec("true", **({"stdin": PIPE, "stdout": PIPE} if "pipes" in what else {}))
                await p.communicate()
                return p.returncode
        with no_descriptors(left):
            # the server needs one for what it accepts: how it fares is another test's
            with contextlib.suppress(OSError):
                if what == "open_connection":
                    server.close()
                    await asyncio.sleep(0)
            found = await failure(attempt())
        lab.errors.take()
        await lab.ticks()
        again = await failure(attempt()) if what not in ("open_connection", "unix") else None
        server.close()
        await lab.ticks()
        gc.collect()
        # which of a child's descriptors could not be opened is its library's affair
        return found[0] if "subprocess" in what and found[0] != "returned" else list(found), again
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)             # asyncio leaves some to the collector
        same(scenario(main))


# ---- sendfile ----

SIZE = 600_000


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(i * 7 % 251 for i in range(1000)) * (SIZE // 1000))
    return path


@sides
@versions
@pytest.mark.parametrize("change", ["shrinks", "grows", "is empty", "stays"])
def test_a_file_that_changes_while_it_is_sent_over_tls(same, tls, path, side, version, change):
    """sendfile() over TLS reads and writes: what it read is what it says it sent."""
    async def main(lab):
        data = path.read_bytes()
        p, peer = await secure(lab, tls, side, version)
        with open(path, "r+b", buffering=0) as file, open(path, "ab", buffering=0) as more:
            if change == "is empty":
                file.truncate(0)
            task = asyncio.ensure_future(lab.loop.sendfile(p.transport, file))
            got = bytearray()
            if change != "is empty":
                got += await peer.read(1000)
            if change == "shrinks":
                file.truncate(1000)
            elif change == "grows":
                more.write(b"more")
            while not task.done():
                with contextlib.suppress(TimeoutError):
                    got += await asyncio.wait_for(peer.call(peer.obj.read, 1 << 16), 0.05)
            sent = await task
            got += await peer.read(sent - len(got))
            found = [sent == len(got), (data + b"more").startswith(got) or change == "shrinks", file.tell() == sent,
                     sent == {"grows": SIZE + 4, "stays": SIZE, "is empty": 0}.get(change, sent)]
        p.transport.close()
        found.append((await peer.read_all())[1])
        await peer.unwrap()
        await lab.seen("lost")
        path.write_bytes(data)
        lab.log[:] = [e for e in lab.log if e[0] not in ("pause", "resume")]
        return found
    got = same(tls_scenario(main))
    assert got["result"] == [True] * 4 + [CLOSE_NOTIFY] and silent(got)


class AtOnce(ThreadPoolExecutor):
    """What is submitted is done when submit() returns: how far a sendfile() has come is no matter of threads then."""

    def submit(self, fn, *args):
        future = super().submit(fn, *args)
        wait([future])
        return future


@sides
@pytest.mark.parametrize("how", ["the peer resets", "closed", "aborted", "cancelled", "closing already"])
def test_sendfile_over_tls_is_broken_off(same, tls, path, side, how):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        while "pause" not in p.events():                     # so that it has to wait
            p.transport.write(b"z" * 65536)
        if how == "closing already":
            p.transport.close()
        with open(path, "rb") as file:
            lab.loop.set_default_executor(AtOnce(1))     # reading the file there still, asyncio loses connection_lost()
            task = asyncio.ensure_future(lab.loop.sendfile(p.transport, file))
            await lab.ticks()
            if how == "the peer resets":
                reset(peer.sock)
            elif how == "cancelled":
                task.cancel("enough")
            elif how == "aborted":
                p.transport.abort()
            elif how == "closed":
                p.transport.close()
            if how in ("closed", "cancelled", "closing already"):
                await lab.ticks()
                drained = await failure(asyncio.wait_for(peer.read_all() if how != "cancelled" else peer.read(1000), 5))
                assert drained
                p.transport.abort()
            found = list(await failure(task))
            await lab.seen("lost")
        peer.close()
        lab.log[:] = [e for e in lab.log if e[0] not in ("pause", "resume")]
        if how == "the peer resets" and found[0] == "ConnectionError":
            found[0] = "ConnectionResetError"            # it waited, or found the connection closing already: chance
        return found[0], p.transport.is_closing()
    same(tls_scenario(main))


# ---- children ----

@pytest.mark.parametrize("pipes", [False, True], ids=["bare", "pipes"])
def test_hundreds_of_children_at_once(aio, pipes):
    """Each exit code is the child's own, and no zombie is left."""
    count = 200 if pipes else 400
    before = set(children())

    async def main(lab):
        async def one(n):
            p = await lab.aio.create_subprocess_exec("sh", "-c", f"exit {n % 250}", **({"stdin": PIPE, "stdout": PIPE} if pipes else {}))
            if pipes:
                assert await p.communicate(b"x" if n % 3 else None) == (b"", None)
            running.append(p)
            return await p.wait()
        running = []
        got = await asyncio.gather(*map(one, range(count)))
        return got == [n % 250 for n in range(count)] and all(p.returncode is not None for p in running)
    assert scenario(main)(aio)["result"] is True
    assert set(children()) <= before


def test_children_that_all_wait_and_end_at_once(aio):
    """They live at the same time: what watches them has to know them all."""
    before, count = set(children()), 250

    async def main(lab):
        r, w = os.pipe()
        processes = [await lab.aio.create_subprocess_exec("sh", "-c", f"read x; exit {n % 100}", stdin=r) for n in range(count)]
        os.close(r)
        alive = sum(p.returncode is None for p in processes)
        os.close(w)
        codes = await asyncio.gather(*(p.wait() for p in processes))
        return alive, codes == [n % 100 for n in range(count)]
    assert scenario(main)(aio)["result"] == [count, True]
    assert set(children()) <= before


def test_killed_in_a_crowd(aio):
    before = set(children())

    async def main(lab):
        processes = [await lab.aio.create_subprocess_exec("sleep", "60") for _ in range(100)]
        for i, p in enumerate(processes):
            p.terminate() if i % 2 else p.kill()
        codes = await asyncio.gather(*(p.wait() for p in processes))
        return codes == [-15 if i % 2 else -9 for i in range(100)], outcome(processes[0].send_signal, 15)[:2]
    got = scenario(main)(aio)["result"]
    assert got[0] is True
    assert set(children()) <= before


# ---- datagrams ----

def test_a_receiver_that_is_full(same, tmp_path):
    """EAGAIN of a Unix datagram socket: what does not fit waits, and all come in order when there is room."""
    async def main(lab):
        receiver = lab.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        address = str(tmp_path / f"{lab.aio.__name__}{len(os.listdir(tmp_path))}")
        receiver.bind(address)
        receiver.setblocking(False)
        transport, protocol = await lab.loop.create_datagram_endpoint(asyncio.DatagramProtocol, family=socket.AF_UNIX, remote_addr=address)
        for i in range(2000):
            transport.sendto(b"%d" % i)
        waited = transport.get_write_buffer_size() > 0
        got = []
        while len(got) < 2000:
            try:
                got.append(int(receiver.recv(100)))
            except BlockingIOError:
                await asyncio.sleep(0)
        transport.close()
        await lab.ticks()
        return waited, got == list(range(2000))
    assert same(scenario(main))["result"] == [True, True]
