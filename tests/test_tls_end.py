"""The end of a TLS connection: who says close_notify when, who does not, and what the protocol hears of it."""
import asyncio
import gc
import ssl
import weakref

import pytest

from lab import Lab, protocols, reset
from lab_tls import (CLOSE_NOTIFY, EOF, Peer, ended, failure, got_data, opened, secure, sides, silent, tls_scenario, versions,
                     write_until_paused)
from support import PY, outcome

END = [["made"], ["eof"], ["lost", None]]


# ---- closing ----

@sides
@versions
def test_close(same, tls, side, version):
    """The peer reads close_notify; the connection is lost when it has said so, too. eof_received() is called even so."""
    async def main(lab):
        p, peer = await secure(lab, tls, side, version)
        t = p.transport
        t.write(b"last words")
        t.close()
        found = [t.is_closing(), await peer.read_all()]
        await lab.ticks()
        found.append(list(lab.log))
        await peer.unwrap()
        await lab.seen("lost")
        found.append(await peer.wait_end())
        return found
    got = same(tls_scenario(main))
    assert got["log"] == END and got["result"] == [True, [b"last words", CLOSE_NOTIFY], [["made"]], b""] and silent(got)


@sides
@pytest.mark.parametrize("calls", ["close close", "abort", "abort abort", "abort close", "close abort", "close tick abort",
                                   "abort tick close"])
def test_closing_more_than_once(same, tls, side, calls):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        p.transport.write(b"data")
        for call in calls.split():
            if call == "tick":
                await asyncio.sleep(0)
            else:
                getattr(p.transport, call)()
        found = p.transport.is_closing(), await peer.read_all()
        if calls == "close close":
            await peer.unwrap()
        await lab.seen("lost")
        peer.close()
        return found, p.transport.is_closing()
    got = same(tls_scenario(main))
    assert got["log"] == (END if calls == "close close" else [["made"], ["lost", None]])


@sides
def test_both_close_at_once(same, tls, side):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        p.transport.close()
        await peer.close_notify()
        await lab.seen("lost")
        return await peer.read_all()
    got = same(tls_scenario(main))
    assert got["log"] == END and got["result"] == [b"", CLOSE_NOTIFY]


@sides
@versions
def test_closed_with_the_peers_data_on_their_way(same, tls, side, version):
    """They come after our close_notify, which OpenSSL does not forgive; whoever closes cannot be made to read on."""
    async def main(lab):
        p, peer = await secure(lab, tls, side, version)
        p.transport.close()
        await peer.write(b"too late")
        await lab.seen("lost")
        return 1
    got = same(tls_scenario(main))
    assert got["log"][-1][1][0] == "SSLError" and len(got["log"]) == 2 and silent(got)


@sides
@protocols
def test_closed_with_data_that_have_arrived(same, tls, side, buffered):
    """Not yet read by the loop: they come after the close_notify as any that come later."""
    async def main(lab):
        p, peer = await secure(lab, tls, side, buffered=buffered)
        peer.raw_now(peer.record(b"in the kernel"))
        p.transport.close()
        await lab.seen("lost")
        return 1
    same(tls_scenario(main))


@sides
def test_close_under_a_flood(same, tls, side):
    """A peer that never stops sending does not keep the connection, and the protocol is given nothing any more."""
    async def main(lab):
        p, peer = await secure(lab, tls, side, hooks={"data_received": lambda p, data: p.transport.close()})
        peer.raw_now(peer.record(b"x"))
        await lab.seen("data")
        ticks = 0
        try:
            while "lost" not in p.events():
                peer.sock.send(peer.record(b"y" * 1000))
                await asyncio.sleep(0)
                ticks += 1
        except OSError:
            pass
        await lab.seen("lost")
        return ticks < 100
    got = same(tls_scenario(main))
    assert got["result"] and [e[0] for e in got["log"]] == ["made", "data", "lost"] and got["log"][1] == ["data", b"x"]


@sides
@pytest.mark.parametrize("resume", [False, True])
def test_closed_while_reading_is_paused(same, tls, side, resume):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        p.transport.pause_reading()
        await peer.write(b"inside")
        await lab.ticks()
        p.transport.close()
        if resume:
            p.transport.resume_reading()
        await lab.seen("lost")
        return await peer.read_all()
    same(tls_scenario(main))


@sides
@pytest.mark.parametrize("call", ["close", "abort"])
def test_with_much_left_to_send(same, tls, side, call):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        total = write_until_paused(lab, p)
        getattr(p.transport, call)()
        await lab.ticks()
        found = [list(lab.log)]
        data, end = await peer.read_all()
        found += [end, len(data) == total if call == "close" else len(data) < total]
        if call == "close":
            await peer.unwrap()
        await lab.seen("lost")
        peer.close()
        return found
    got = same(tls_scenario(main))
    assert got["result"][1:] == [CLOSE_NOTIFY if call == "close" else EOF, True]


@sides
def test_written_after_close(same, tls, side):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        t, found = p.transport, []
        t.close()
        for i in range(8):
            found.append(outcome(t.write, b"x") if i % 2 else outcome(t.writelines, [b"x", b"y"]))
            found.append(len(lab.records.records))
        found += [outcome(t.write, "x"), outcome(t.write, b""), t.get_write_buffer_size() < 100, await peer.read_all()]
        await peer.unwrap()
        await lab.seen("lost")
        found += [outcome(t.write, b"x"), outcome(t.writelines, [b"x"]), len(lab.records.records), t.get_write_buffer_size()]
        return found
    got = same(tls_scenario(main))
    assert ["WARNING", "SSL connection is closed"] in got["records"]


@sides
@pytest.mark.parametrize("how", ["close", "lost", "abort"])
def test_what_works_after_the_end(same, tls, side, how):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        t = p.transport
        if how == "close":
            t.close()
        elif how == "abort":
            t.abort()
            await lab.seen("lost")
        else:
            await ended(lab, p, peer)
        calls = [("is_closing",), ("is_reading",), ("pause_reading",), ("resume_reading",), ("set_write_buffer_limits", 10),
                 ("get_write_buffer_limits",),
                 ("can_write_eof",), ("write_eof",), ("get_extra_info", "peercert"), ("get_extra_info", "socket", "none"), ("write", b"x"),
                 ("writelines", [b"x"]), ("get_write_buffer_size",), ("get_read_buffer_size",)]
        # the socket of a connection that is only closing is still there
        found = [[name, *outcome(getattr(t, name), *args)] for name, *args in calls if args[:1] != ["socket"] or how != "close"]
        found.append(t.get_protocol() is p)
        if how == "close":
            await failure(peer.unwrap())
        peer.close()
        await lab.seen("lost")
        return found
    same(tls_scenario(main))


# ---- the peer ends it ----

ANSWERS = {"None": None, "False": False, "True": True, "1": 1, "text": "yes", "empty": ""}


@sides
@protocols
@pytest.mark.parametrize("end", [CLOSE_NOTIFY, EOF])
@pytest.mark.parametrize("answer", ANSWERS)
def test_what_eof_received_returns(same, tls, side, buffered, end, answer):
    """Nothing holds the connection open; a true answer is commented on."""
    async def main(lab):
        p, peer = await secure(lab, tls, side, buffered=buffered, hooks={"eof_received": lambda p: ANSWERS[answer]})
        await peer.write(b"data")
        if end == CLOSE_NOTIFY:
            await peer.close_notify()
        else:
            peer.shutdown()
        await lab.seen("lost")
        found = await peer.read_all()
        peer.close()
        return found
    got = same(tls_scenario(main))
    assert [e[0] for e in got["log"]] == ["made", "data", "eof", "lost"]
    assert got["records"] == [["WARNING", "returning true from eof_received() has no effect when using ssl"]] * bool(ANSWERS[answer])


@sides
@pytest.mark.parametrize("end", [CLOSE_NOTIFY, EOF, "close"])
@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError, BaseException], ids=lambda e: e.__name__)
def test_eof_received_raises(same, tls, side, end, error):
    async def main(lab):
        def fail(p):
            raise error("from eof_received()")
        p, peer = await secure(lab, tls, side, hooks={"eof_received": fail})
        if end == CLOSE_NOTIFY:
            await peer.close_notify()
        elif end == "close":
            p.transport.close()
            await peer.unwrap()
        else:
            peer.shutdown()
        await lab.seen("lost")
        peer.close()
        return p.transport.is_closing()
    same(tls_scenario(main))


@sides
@pytest.mark.parametrize("end", [CLOSE_NOTIFY, EOF])
def test_written_in_eof_received(same, tls, side, end):
    """A peer that has only finished writing still reads it."""
    async def main(lab):
        p, peer = await secure(lab, tls, side, hooks={"eof_received": lambda p: p.transport.write(b"goodbye"),
                                                      "connection_lost": lambda p, exc: p.transport.write(b"too late")})
        if end == CLOSE_NOTIFY:
            await peer.close_notify()
        else:
            peer.shutdown()
        found = await peer.read_all()
        await lab.seen("lost")
        peer.close()
        return found
    got = same(tls_scenario(main))
    if end == CLOSE_NOTIFY:
        assert got["result"] == [b"goodbye", CLOSE_NOTIFY]


@sides
@pytest.mark.parametrize("end", [CLOSE_NOTIFY, EOF])
def test_a_half_closed_connection_with_much_left_to_send(same, tls, side, end):
    """What was written before is sent to a peer that says close_notify and reads on."""
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        total = write_until_paused(lab, p)
        if end == CLOSE_NOTIFY:
            await peer.close_notify()
        else:
            peer.shutdown()
        await lab.seen("eof")
        await lab.ticks()
        data, how = await peer.read_all()
        await lab.seen("lost")
        peer.close()
        return len(data) == total, how, lab.log[-1][0]
    got = same(tls_scenario(main))
    if end == CLOSE_NOTIFY:
        assert got["result"] == [True, CLOSE_NOTIFY, "lost"]


@sides
@versions
@pytest.mark.parametrize("what", ["half a record", "a broken record", "garbage", "an alert", "reset", "data after close_notify",
                                  "a warning",
                                  "plain close_notify"])
def test_a_stream_cut_or_spoilt(same, tls, side, version, what):
    async def main(lab):
        p, peer = await secure(lab, tls, side, version)
        await peer.write(b"good")
        await got_data(lab, 4)
        if what == "half a record":
            await peer.raw(peer.record(b"never seen")[:-3])
            await lab.ticks()
            peer.shutdown()
        elif what == "a broken record":
            record = bytearray(peer.record(b"spoilt"))
            record[-1] ^= 1
            await peer.raw(bytes(record))
        elif what == "garbage":
            await peer.raw(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        elif what == "an alert":
            await peer.raw(b"\x15\x03\x03\x00\x02\x02\x28")
        elif what == "a warning":
            await peer.raw(b"\x15\x03\x03\x00\x02\x01\x5a")          # user_canceled, in plain text
        elif what == "plain close_notify":
            await peer.raw(b"\x15\x03\x03\x00\x02\x01\x00")
        elif what == "reset":
            reset(peer.sock)
        else:
            record = peer.record(b"late")
            peer.step(peer.obj.unwrap)
            peer.raw_now(peer.take() + record)
        await lab.seen("lost")
        return 1
    got = same(tls_scenario(main))
    assert got["log"][:2] == [["made"], ["data", b"good"]] and got["reports"] == []


@sides
@pytest.mark.parametrize("when", ["closing", "paused", "writing", "shutting down with data"])
def test_a_reset(same, tls, side, when):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        if when == "closing":
            p.transport.close()
        elif when == "paused":
            p.transport.pause_reading()
        elif when == "writing":
            write_until_paused(lab, p)
        else:
            write_until_paused(lab, p)
            p.transport.close()
        await lab.ticks()
        reset(peer.sock)
        if when == "paused":
            await lab.ticks()
            p.transport.write(b"x")
            await lab.ticks()
            p.transport.resume_reading()
        await lab.seen("lost")
        return 1
    got = same(tls_scenario(main))
    assert got["log"][-1][1][0] == "ConnectionResetError"


# ---- time limits ----

@sides
def test_a_peer_that_does_not_answer(same, tls, side):
    async def main(lab):
        p, peer = await secure(lab, tls, side, tls_options={"ssl_shutdown_timeout": 0.03})
        p.transport.close()
        await lab.seen("lost")
        return await peer.read_all()
    got = same(tls_scenario(main))
    assert got["log"] == [["made"], ["lost", ["TimeoutError", "SSL shutdown timed out"]]]
    assert got["result"] == [b"", CLOSE_NOTIFY] and silent(got)


@sides
def test_a_peer_that_does_not_read(same, tls, side):
    async def main(lab):
        p, peer = await secure(lab, tls, side, tls_options={"ssl_shutdown_timeout": 0.03})
        write_until_paused(lab, p)
        p.transport.close()
        await lab.seen("lost")
        return 1
    assert same(tls_scenario(main))["log"][-1] == ["lost", ["TimeoutError", "SSL shutdown timed out"]]


@sides
def test_a_peer_that_says_close_notify_and_does_not_read(same, tls, side):
    """Whether the limit holds here, too, depends on the Python."""
    async def main(lab):
        p, peer = await secure(lab, tls, side, tls_options={"ssl_shutdown_timeout": 0.03})
        write_until_paused(lab, p)
        await peer.close_notify()
        await lab.seen("eof")
        await asyncio.sleep(0.1)
        found = list(lab.log), p.transport.is_closing()
        p.transport.abort()
        await lab.seen("lost")
        return found
    same(tls_scenario(main))


@sides
@pytest.mark.parametrize("what, limit", [("handshake", 60), ("shutdown", 30)])
def test_the_default_limits(same, tls, side, what, limit):
    """Seen on a clock of the test's own."""
    async def main(lab):
        real, ahead = lab.loop.time, 0
        lab.loop.time = lambda: real() + ahead
        if what == "handshake":
            p, task, peer = opened(lab, side, tls.of(side), tls.other(side))
            await lab.ticks()
        else:
            p, peer = await secure(lab, tls, side)
            p.transport.close()
        ahead = limit - 2
        await lab.ticks()
        found = task.done() if what == "handshake" else list(lab.log)
        ahead = limit + 2
        await lab.ticks()
        if what == "handshake":
            return found, await failure(task)
        await lab.seen("lost")
        return found
    got = same(tls_scenario(main, limit=600))
    assert got["result"] == ([False, ["ConnectionAbortedError", "SSL handshake is taking longer than N seconds: aborting the connection"]]
                             if what == "handshake" else [["made"]])


# ---- connection_lost() ----

@sides
@pytest.mark.parametrize("error", [ValueError, BaseException], ids=lambda e: e.__name__)
def test_connection_lost_raises(same, tls, side, error):
    async def main(lab):
        def fail(p, exc):
            raise error("from connection_lost()")
        p, peer = await secure(lab, tls, side, hooks={"connection_lost": fail})
        await peer.close_notify()
        await lab.seen("lost")
        found = await peer.read_all(), await peer.wait_end()
        return found
    got = same(tls_scenario(main))
    assert got["log"] == END and len(got["reports"]) == 1


@sides
@pytest.mark.parametrize("end", ["close", "abort", "peer", "eof", "reset", "garbage"])
def test_nothing_is_left(same, tls, side, end):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        t = p.transport
        left = [weakref.ref(x) for x in (p, t, t.get_extra_info("ssl_object"))]
        if end in ("close", "abort"):
            getattr(t, end)()
            await failure(peer.unwrap())
        elif end == "peer":
            await peer.close_notify()
        elif end == "eof":
            peer.shutdown()
        elif end == "reset":
            reset(peer.sock)
        else:
            await peer.raw(b"x" * 100)
        await lab.seen("lost")
        lab.log.clear()
        del t, p
        await lab.ticks()
        gc.collect()
        return [ref() is None for ref in left]
    assert same(tls_scenario(main))["result"] == [True] * 3


@sides
def test_the_loop_is_closed_with_the_connection_open(same, tls, side):
    def run(aio):
        with Lab(aio) as lab:
            p, peer = lab.run(secure(lab, tls, side))
            p.transport.write(b"x")
            lab.run(peer.read(1))
            lab.loop.close()
            found = [p.transport.is_closing(), outcome(p.transport.get_extra_info, "nothing"), outcome(p.transport.write, b"y")[0]]
            ref = weakref.ref(p)
            with pytest.warns(ResourceWarning):
                del p
                gc.collect()
            return found + [ref() is None, lab.log]
    same(run)


# ---- servers ----

@pytest.mark.skipif(PY < (3, 13), reason="new in 3.13")
@pytest.mark.parametrize("call", ["close_clients", "abort_clients"])
def test_a_server_ends_its_clients(same, tls, call):
    async def main(lab):
        server = await lab.loop.create_server(lambda: lab.protocol("server"), "127.0.0.1", 0, ssl=tls.server())
        streams = [await lab.aio.open_connection(*server.sockets[0].getsockname(), ssl=tls.client(),
                                                 server_hostname="localhost") for _ in range(3)]
        await lab.seen("made", 3)
        server.close()
        waiting = asyncio.ensure_future(server.wait_closed())
        await lab.ticks()
        found = [waiting.done()]
        getattr(server, call)()
        found += [await failure(reader.read()) for reader, _ in streams]
        for _, writer in streams:
            writer.close()
            found.append(await failure(writer.wait_closed()))
        await waiting
        await lab.seen("lost", 3)
        return found
    same(tls_scenario(main))


def test_wait_closed_waits_for_tls(same, tls):
    async def main(lab):
        server = await lab.loop.create_server(lambda: lab.protocol("server"), "127.0.0.1", 0, ssl=tls.server())
        reader, writer = await lab.aio.open_connection(*server.sockets[0].getsockname(), ssl=tls.client(), server_hostname="localhost")
        await lab.seen("made")
        server.close()
        waiting = asyncio.ensure_future(server.wait_closed())
        await lab.ticks()
        found = [waiting.done(), server.is_serving()]
        writer.close()
        await writer.wait_closed()
        await waiting
        return found
    same(tls_scenario(main))


# ---- streams ----

@versions
@pytest.mark.parametrize("end", [CLOSE_NOTIFY, EOF, "reset", "garbage", "half a line"])
def test_how_streams_end(same, tls, version, end):
    async def main(lab):
        sock, other = lab.pair("tcp")
        peer = Peer(lab, other, tls.server(version), True)
        task = asyncio.ensure_future(lab.aio.open_connection(sock=sock, ssl=tls.client(version), server_hostname="localhost"))
        await peer.handshake()
        reader, writer = await task
        await peer.write(b"line\nrest")
        found = [await reader.readline()]
        if end == EOF:
            peer.shutdown()
        elif end == "reset":
            reset(peer.sock)
        elif end == "garbage":
            await peer.raw(b"x" * 100)
        else:
            await peer.close_notify()
        found += [await failure(reader.readline() if end != "half a line" else reader.readexactly(10)), reader.at_eof()]
        writer.write(b"more")
        found.append(await failure(writer.drain()))
        writer.close()
        found += [await failure(writer.wait_closed()), writer.is_closing(), type(reader.exception()).__name__]
        return found
    same(tls_scenario(main))


def test_an_exception_kept_from_the_connection(same, tls):
    """ssl's errors come as they are: their attributes are those that ssl set."""
    async def main(lab):
        seen = []
        p, peer = await secure(lab, tls, "client", hooks={"connection_lost": lambda p, exc: seen.append(exc)})
        record = bytearray(peer.record(b"spoilt"))
        record[-1] ^= 1
        await peer.raw(bytes(record))
        await lab.seen("lost")
        error, = seen
        return [type(error) is ssl.SSLError, error.library, error.reason, error.errno, len(error.args), error.__traceback__ is not None]
    got = same(tls_scenario(main))
    assert got["result"][:2] == [True, "SSL"]
    assert got["result"][2] in ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE")       # the latter by OpenSSL 3.5 and later
