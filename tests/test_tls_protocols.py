"""Protocols over TLS: buffers gone wrong, callbacks that raise, one protocol in another's place."""
import asyncio

import pytest

from lab import BufferedRecorder, Lab, Recorder
from lab_tls import ended, failure, got_data, opened, secure, sides, tidy, tls_scenario, write_until_paused
from support import outcome, plain


@sides
@pytest.mark.parametrize("bad", ["raises", "empty", "bytes", "None", "read-only view", "int", "closes", "aborts", "pauses", "changes"])
def test_get_buffer_gone_wrong(same, tls, side, bad):
    async def main(lab):
        armed, state = False, []

        def get_buffer(p):
            if not armed:
                return memoryview(p.buffer)
            if bad == "raises":
                raise LookupError("no buffer")
            if bad in ("closes", "aborts"):
                getattr(p.transport, bad[:-1])() if bad != "closes" else p.transport.close()
            elif bad == "pauses":
                p.transport.pause_reading()
                state.append(p.transport.is_reading())
            elif bad == "changes":
                p.transport.set_protocol(Recorder(lab.log, "other"))
            else:
                return {"empty": bytearray(), "bytes": b"x" * 100, "None": 0, "read-only view": memoryview(b"x" * 100), "int": 5}[bad]
            return memoryview(p.buffer)
        p, peer = await secure(lab, tls, side, buffered=True, hooks={"get_buffer": get_buffer})
        p.transport.write(b"x")
        await peer.read(1)
        armed = True
        await peer.write(b"hello")
        await lab.ticks()
        if bad == "pauses":
            armed = False
            p.transport.resume_reading()
        if bad == "aborts":
            peer.close()
        elif bad == "closes":
            await failure(peer.unwrap())
            peer.close()
        elif bad in ("pauses", "changes"):
            await lab.ticks()
            armed = False
            await peer.close_notify()
        await lab.seen("lost")
        return p.transport.is_closing(), state
    same(tls_scenario(main))


@sides
@pytest.mark.parametrize("callback", ["data_received", "buffer_updated"])
@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError, BaseException], ids=lambda e: e.__name__)
def test_a_protocol_that_raises(same, tls, side, callback, error):
    buffered = callback == "buffer_updated"

    async def main(lab):
        def fail(p, arg):
            raise error(f"from {callback}()")
        p, peer = await secure(lab, tls, side, buffered=buffered, hooks={callback: fail})
        await peer.write(b"hello")
        await lab.seen("lost")
        found = await peer.read_all()
        peer.close()
        return found, p.transport.is_closing()
    log = same(tls_scenario(main))["log"]
    assert [e[0] for e in log] == ["made", "data", "lost"]


@sides
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("callback", ["connection_made", "data_received", "eof_received", "connection_lost", "pause_writing"])
def test_a_protocol_that_wants_out(same, tls, side, callback, error):
    """Such an exception goes up through run_until_complete(); the loop can run again."""
    def run(aio):
        with Lab(aio) as lab:
            raised = []

            def leave(p, *args):
                if not raised:
                    raised.append(1)
                    raise error(callback)

            async def main():
                p, task, peer = opened(lab, side, tls.of(side), tls.other(side), hooks={callback: leave})
                state.extend([p, task, peer])
                await failure(peer.handshake())
                if callback in ("data_received", "eof_received", "connection_lost"):
                    await peer.write(b"data")
                    await peer.close_notify()
                elif callback == "pause_writing":
                    (await task).set_write_buffer_limits(0)
                await asyncio.sleep(30)
            state = []
            found = outcome(lab.run, main())
            p, task, peer = state

            async def rest():
                await lab.ticks()
                made = await failure(asyncio.wait_for(task, 0.05))
                if p.transport is not None:
                    p.transport.abort()
                peer.close()
                await lab.ticks()
                return made[0]
            return tidy([found, lab.run(rest()), plain(lab.log), [[c["message"], plain(c.get("exception"))] for c in lab.errors.take()]])
    assert same(run)[0][:2] == ["raised", error.__name__]


@sides
@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
@pytest.mark.parametrize("error", [ValueError, OSError, BaseException], ids=lambda e: e.__name__)
def test_flow_control_that_raises(same, tls, side, callback, error):
    """It is told of and nothing else."""
    async def main(lab):
        def fail(p):
            raise error(callback)
        p, peer = await secure(lab, tls, side, hooks={callback: fail})
        total = write_until_paused(lab, p)
        found = (await peer.read(total)) == b"z" * total
        await lab.seen("resume")
        await ended(lab, p, peer)
        return found
    got = same(tls_scenario(main))
    assert got["result"] is True and len(got["reports"]) == 1


# ---- other protocols ----

@sides
@pytest.mark.parametrize("first", [False, True], ids=["protocol first", "buffered first"])
@pytest.mark.parametrize("then", [False, True], ids=["then protocol", "then buffered"])
@pytest.mark.parametrize("where", ["outside", "inside"])
def test_set_protocol(same, tls, side, first, then, where):
    async def main(lab):
        second = (BufferedRecorder if then else Recorder)(lab.log, "second")

        def change(p, arg):
            if where == "inside":
                p.transport.set_protocol(second)
        p, peer = await secure(lab, tls, side, buffered=first, hooks={"buffer_updated" if first else "data_received": change})
        t = p.transport
        await peer.write(b"one")
        await got_data(lab, 3)
        if where == "outside":
            t.set_protocol(second)
        found = t.get_protocol() is second
        second.transport = t
        await peer.write(b"two")
        await got_data(lab, 6)
        await ended(lab, second, peer)
        return found, t.get_protocol() is None
    log = same(tls_scenario(main))["log"]
    assert log == [["made"], ["data", b"one"], ["second", "data", b"two"], ["second", "eof"], ["second", "lost", None]]


def test_a_protocol_that_looks_buffered_only(same, tls):
    """asyncio wants the base class and the method."""
    class Odd(Recorder):
        def get_buffer(self, hint):
            raise AssertionError("must not be called")

    async def main(lab):
        p, peer = await secure(lab, tls, "client", protocol=Odd(lab.log))
        await peer.write(b"x")
        await got_data(lab, 1)
        await ended(lab, p, peer)
        return 1
    same(tls_scenario(main))


@sides
def test_a_write_of_the_transport_below_that_was_replaced(same, tls, side):
    """It is called, until it is taken away again."""
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        below, got = p.transport._ssl_protocol._transport, []
        real = below.write
        below.write = lambda data: (got.append(type(data).__name__), real(data))[1]
        p.transport.write(b"by the new one")
        await lab.ticks()
        got.append(await peer.read(14))
        del below.write
        p.transport.write(b"by the old one")
        await lab.ticks()
        got.append(await peer.read(14))
        await ended(lab, p, peer)
        return got
    assert len(same(tls_scenario(main))["result"]) == 3
