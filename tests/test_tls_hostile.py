"""TLS against programs that act on the connection from within every callback, drop the last reference to it, or stop the loop."""
import asyncio
import gc
import ssl
import warnings
import weakref

import pytest

from lab import Lab, Recorder
from lab_tls import Peer, failure, opened, secure, sides, start, tidy, tls_scenario
from support import outcome, plain, spin

ACTIONS = ("close", "abort", "close close", "abort close", "write", "writelines", "pause", "resume", "pause resume", "set_protocol",
           "limits", "zero limits",
           "extra info", "stop", "collect", "close write", "abort write", "write close", "pause close")
CALLBACKS = ("connection_made", "data_received", "buffer_updated", "get_buffer", "eof_received", "pause_writing", "resume_writing",
             "connection_lost")


def act(lab, p, action):
    t = p.transport
    for word in action.split():
        if word in ("close", "abort"):
            getattr(t, word)()
        elif word == "write":
            t.write(b"from within")
        elif word == "writelines":
            t.writelines([b"from ", b"within"])
        elif word in ("pause", "resume"):
            getattr(t, word + "_reading")()
        elif word == "set_protocol":
            second = Recorder(lab.log, "second")
            second.transport = t
            t.set_protocol(second)
        elif word == "limits":
            t.set_write_buffer_limits(100_000, 1000)
        elif word == "extra":
            lab.log.append([t.get_extra_info("ssl_object") is not None, t.get_extra_info("cipher") is not None, t.is_closing()])
        elif word == "stop":
            lab.loop.call_soon(lambda: None)
        elif word == "collect":
            gc.collect()
    if action == "zero limits":
        t.set_write_buffer_limits(0)


async def life(lab, p, peer, action):
    """Data in both directions, more than fits, then the end from the peer's side. Steps that are no longer possible fail quietly,
    since what the protocol sees is what counts."""
    async def step(coroutine):
        await failure(asyncio.wait_for(coroutine, 5))
    lost = [e for e in lab.log if "lost" in e]
    if not lost:
        await step(peer.write(b"one"))
        await lab.ticks()
        if action.startswith("pause"):
            p.transport.resume_reading()
            await lab.ticks()
        await step(peer.write(b"two"))
        await lab.ticks()
    total = 0
    while not p.transport.is_closing() and not any("pause" in e for e in lab.log) and total < 50_000_000:
        p.transport.write(b"z" * 65536)
        total += 65536
    await lab.ticks()
    # asyncio can be caught by the peer's end with more to send than fits: it then fails for ever in a callback that is None
    await step(peer.read_all() if p.transport.is_closing() else peer.read(total))
    await lab.ticks()
    await step(peer.close_notify())
    await lab.ticks()
    if action.startswith("pause"):
        outcome(p.transport.resume_reading)
    await step(peer.read_all())
    await lab.ticks()
    peer.close()
    await lab.seen("lost")
    await lab.ticks()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("callback", CALLBACKS)
def test_acting_within_a_callback(same, tls, callback, action):
    """What follows is asyncio's, callback for callback."""
    if (callback, action) == ("connection_made", "pause"):
        pytest.skip("asyncio then keeps the end of its handshake to itself until something is written")

    async def main(lab, side):
        done = []

        def hook(p, *args):
            if not done:
                done.append(True)
                act(lab, p, action)
            return memoryview(p.buffer) if callback == "get_buffer" else None
        buffered = callback in ("buffer_updated", "get_buffer")
        p, task, peer = opened(lab, side, tls.of(side), tls.other(side), kind="unix", hooks={callback: hook}, buffered=buffered)
        await failure(peer.handshake())
        await failure(task)
        await lab.ticks()
        await life(lab, p, peer, action)
        # What is written in small pieces and when is a matter of buffers; how often limits of nothing are crossed, too.
        if "limits" in action:
            lab.log[:] = [e for e in lab.log if e[0] not in ("pause", "resume")]
        if callback == "resume_writing" and "abort" in action:
            lab.errors.take()                    # asyncio's own transport closes itself twice, or not, as chance has it
        return len(done)
    for side in ("client", "server"):
        same(tls_scenario(main), side)


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, ssl.SSLWantReadError, ConnectionResetError],
                         ids=lambda e: e.__name__)
def test_raising_within_a_callback(same, tls, callback, error):
    """Errors of ssl, too: those that the transport itself acts on must not be taken for the protocol's, nor the other way round."""
    async def main(lab, side):
        done = []

        def hook(p, *args):
            if not done:
                done.append(True)
                raise error("within")
            return memoryview(p.buffer) if callback == "get_buffer" else None
        buffered = callback in ("buffer_updated", "get_buffer")
        p, task, peer = opened(lab, side, tls.of(side), tls.other(side), kind="unix", hooks={callback: hook}, buffered=buffered)
        await failure(peer.handshake())
        found = (await failure(task))[0]
        await lab.ticks()
        await life(lab, p, peer, "")
        return found, len(done)
    for side in ("client", "server"):
        same(tls_scenario(main), side)


@pytest.mark.parametrize("callback", CALLBACKS)
@sides
def test_the_last_reference_dropped_within_a_callback(same, tls, side, callback):
    """Nobody but the loop holds the protocol or the transport."""
    async def main(lab):
        refs = []

        def hook(p, *args):
            if not refs:
                refs.append(weakref.ref(p))
                refs.append(weakref.ref(p.transport))
                if callback != "get_buffer":
                    p.transport.close()
                p.transport = None
                gc.collect()
            return memoryview(bytearray(100)) if callback == "get_buffer" else None
        buffered = callback in ("buffer_updated", "get_buffer")
        sock, other = lab.pair("unix")
        peer, total = Peer(lab, other, tls.other(side), side == "client"), 0

        async def begin():
            nonlocal total
            # start() would keep the protocol alive and look at it
            factory = lambda: lab.protocol(buffered=buffered, **{callback: hook})        # noqa: E731
            if side == "client":
                t, p = await lab.loop.create_connection(factory, sock=sock, ssl=tls.client(), server_hostname="localhost")
            else:
                t, p = await lab.loop.connect_accepted_socket(factory, sock, ssl=tls.server())
            del p
            if "writing" in callback:
                while not any("pause" in e for e in lab.log):
                    t.write(b"z" * 65536)
                    total += 65536
        task = asyncio.ensure_future(begin())
        await failure(peer.handshake())
        await failure(task)
        del task
        if callback == "resume_writing":
            await peer.read(total)
        await failure(peer.write(b"data"))
        await lab.ticks()
        await failure(peer.close_notify())
        await failure(peer.read_all())
        await lab.ticks()
        peer.close()
        await lab.seen("lost")
        await lab.ticks()
        gc.collect()
        return [ref() is None for ref in refs]
    assert same(tls_scenario(main))["result"] == [True, True]


@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received", "connection_lost", "pause_writing"])
@sides
def test_a_task_started_within_a_callback_runs_after_it(same, tls, side, callback):
    async def main(lab):
        tasks = []

        async def note():
            lab.log.append(["task"])
            await asyncio.sleep(0)
            lab.log.append(["task again"])

        def hook(p, *args):
            tasks.append(asyncio.ensure_future(note()))
        p, peer = await secure(lab, tls, side, hooks={callback: hook})
        peer.raw_now(peer.record(b"data"))
        await lab.ticks()
        if callback == "pause_writing":
            while "pause" not in p.events():
                p.transport.write(b"z" * 65536)
        await lab.ticks()
        await peer.close_notify()
        await peer.read_all()
        await lab.seen("lost")
        await lab.ticks()
        peer.close()
        return len(tasks)
    same(tls_scenario(main))


@sides
@pytest.mark.parametrize("stage", ["data", "paused", "closing", "buffered"])
def test_the_loop_is_closed_at_every_stage(same, tls, side, stage):
    """Nothing crashes, everything goes, no callback comes any more."""
    def run(aio):
        with Lab(aio) as lab:
            async def main():
                p, peer = await secure(lab, tls, side, kind="unix")
                if stage == "paused":
                    p.transport.pause_reading()
                    await peer.write(b"data")
                    await lab.ticks()
                elif stage == "closing":
                    p.transport.close()
                elif stage == "buffered":
                    while "pause" not in p.events():
                        p.transport.write(b"z" * 65536)
                return p, peer
            p, peer = lab.run(main())
            log = list(lab.log)
            lab.loop.close()
            found = [outcome(getattr(p.transport, call), *args)[0] for call, *args in
                     (("is_closing",), ("is_reading",), ("get_write_buffer_size",), ("write", b"x"))]
            ref = weakref.ref(p)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                del p
                gc.collect()
            return [found, lab.log[len(log):], ref() is None]
    assert same(run)[1:] == [[], True]


@pytest.mark.parametrize("stage", ["before", "handshake", "start_tls"])
def test_the_process_ends_in_a_handshake(script, tls, stage):
    """What is left when the loop is closed and the interpreter goes."""
    got = script("""
import asyncio, socket, ssl, sys, warnings
warnings.simplefilter("ignore")
sys.unraisablehook = lambda args: None          # coroutines that are collected now cannot close anything on a closed loop
stage, certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
a, b = socket.socketpair()
loop = aio.new_event_loop()
async def begin():
    if stage == "start_tls":
        transport, protocol = await loop.create_connection(aio.Protocol, sock=a)
        await loop.start_tls(transport, protocol, context, server_hostname="localhost")
    else:
        await loop.create_connection(aio.Protocol, sock=a, ssl=context, server_hostname="localhost")
task = loop.create_task(begin())
task._log_destroy_pending = False
loop.run_until_complete(aio.sleep(0 if stage == "before" else 0.02))
loop.close()
print("closed")
""", stage, tls.certificate)
    assert (got.returncode, got.stdout, got.stderr) == (0, "closed\n", "")


@pytest.mark.parametrize("stops", ["connection_made", "data_received", "eof_received", "connection_lost"])
@sides
def test_the_loop_is_stopped_within_a_callback(same, tls, side, stops):
    """The tick is finished; what follows comes when it runs again."""
    def run(aio):
        with Lab(aio) as lab:
            async def main():
                p, task, peer = opened(lab, side, tls.of(side), tls.other(side), hooks={stops: lambda p, *args: lab.loop.stop()})
                state.extend((p, task, peer))
                await failure(peer.handshake())
                await task
                await peer.write(b"data")
                await lab.seen(b"data")                  # by itself: not in one read with the end
                await peer.close_notify()
                await peer.read_all()
            state = []
            task = lab.loop.create_task(main())
            runs = 0
            while not any("lost" in e for e in lab.log) or not task.done():
                lab.loop.run_forever() if not task.done() or stops != "connection_lost" else spin(lab.loop)
                runs += 1
                if task.done() and not any("lost" in e for e in lab.log):
                    spin(lab.loop)
                assert runs < 100
                if runs == 1:
                    lab.log.append(["stopped"])
                    task.add_done_callback(lambda _: lab.loop.stop())
            state[2].close()
            spin(lab.loop, 2)
            return tidy(plain(lab.log))
    same(run)


def test_a_storm_of_connections(aio, tls):
    """Each ends in a way of its own while the others live; nobody's fate touches another's."""
    ends = ("close", "abort", "eof", "garbage", "reset", "handshake")

    with Lab(aio) as lab:
        async def one(i):
            end, side = ends[i % len(ends)], ("client", "server")[i // len(ends) % 2]
            log = []
            p = Recorder(log)
            sock, other = lab.pair("tcp")
            peer = Peer(lab, other, contexts["server" if side == "client" else "client"], side == "client")
            task = asyncio.ensure_future(start(lab, side, p, sock, contexts[side]))
            if end == "handshake":
                await asyncio.sleep(0)
                other.close()
                assert (await failure(task))[0] in ("ConnectionResetError", "BrokenPipeError")
                return
            await peer.handshake()
            t = await task
            for k in range(5):
                t.write(b"%d" % k)
                await peer.write(b"%d" % k)
            assert await peer.read(5) == b"01234"
            await lab.until(lambda: log[-1] == ["data", b"01234"])
            if end == "close":
                t.close()
                await peer.unwrap()
            elif end == "abort":
                t.abort()
            elif end == "eof":
                peer.shutdown()
            elif end == "garbage":
                await peer.raw(b"x" * 50)
            else:
                other.close()
            await lab.until(lambda: log[-1][0] == "lost")
        contexts = {"client": tls.client(), "server": tls.server()}
        async def main():
            await asyncio.gather(*(one(i) for i in range(60)))
        lab.run(main())
        assert lab.reports() == []


@pytest.mark.parametrize("where", ["callback", "get_buffer"])
@sides
def test_what_was_written_before_a_broken_record_goes_out(same, tls, side, where):
    """In the same tick: OpenSSL encrypts nothing once it has found the record."""
    async def main(lab):
        def write(p):
            if where == "get_buffer":
                p.transport.write(b"before")
            return memoryview(p.buffer)
        p, peer = await secure(lab, tls, side, "TLSv1_3", buffered=True)
        p.hooks["get_buffer"] = write
        peer.raw_now(b"\x17\x03\x03\x00\x20" + bytes(32))
        if where == "callback":                          # it runs in the tick that receives the record, just before
            lab.loop.call_soon(p.transport.write, b"before")
        await lab.seen("lost")
        got = await failure(peer.read(6))
        peer.close()
        return got
    assert same(tls_scenario(main))["result"] == ["returned", b"before"]
