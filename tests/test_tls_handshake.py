"""The TLS handshake: the order of what it calls, and every way in which it can fail, with a peer moved by hand."""
import asyncio
import contextlib
import gc
import ssl
import warnings
import weakref

import pytest

from lab import reset
from lab_tls import CLOSE_NOTIFY, EOF, Peer, ended, failure, opened, secure, sides, silent, start, tls_scenario, versions
from support import plain

HTTP = b"HTTP/1.0 400 Bad Request\r\n\r\n"


def other(side):
    return "server" if side == "client" else "client"


async def settled(task):
    """The task's failure, and the ticks in which what it leaves behind is dealt with."""
    result = await failure(task)
    for _ in range(3):
        await asyncio.sleep(0)
    return result


@sides
@versions
def test_success(same, tls, side, version):
    async def main(lab):
        p, task, peer = opened(lab, side, tls.of(side, version), tls.other(side, version))
        task.add_done_callback(lambda task: lab.log.append(["connected"]))
        await lab.ticks()
        before = [list(lab.log), p.transport]
        await peer.handshake()
        t = await task
        found = [before, isinstance(t, asyncio.Transport), t is p.transport, t.get_protocol() is p, t.is_closing(), t.is_reading(),
                 t.get_extra_info("ssl_object").version(), peer.obj.version()]
        await peer.write(b"hello")
        await lab.seen("data")
        await ended(lab, p, peer)
        return found
    got = same(tls_scenario(main))
    assert got["result"][0] == [[], None] and got["result"][-1].replace(".", "_") == version and silent(got)
    assert got["log"] == [["made"], ["connected"], ["data", b"hello"], ["eof"], ["lost", None]]


@pytest.mark.parametrize("end", ["more", "close_notify", "eof", "reset"])
@pytest.mark.parametrize("side, version", [("client", "TLSv1_2"), ("server", "TLSv1_3")])
def test_data_that_come_with_the_end_of_the_handshake(same, tls, side, version, end):
    """The peer that speaks last sends its data in the same segment: they are delivered before the waiter's task runs."""
    async def main(lab):
        p, task, peer = opened(lab, side, tls.of(side, version), tls.other(side, version))
        task.add_done_callback(lambda task: lab.log.append(["connected"]))
        while not p.log:
            try:
                peer.obj.do_handshake()
                break
            except ssl.SSLWantReadError:
                await peer.flush()
                await peer.fill()
        last = peer.take() + peer.record(b"early")
        if end == "close_notify":
            peer.step(peer.obj.unwrap)
            last += peer.take()
        peer.raw_now(last)
        if end == "eof":
            peer.shutdown()
        await task
        await lab.seen("data")
        await lab.ticks()
        found = list(lab.log[:3]), p.transport.is_closing()
        if end == "reset":
            reset(peer.sock)
        elif end == "more":
            await ended(lab, p, peer)
        await lab.seen("lost")
        return found
    got = same(tls_scenario(main))
    assert [e[0] for e in got["log"][:3]] == ["made", "data", "eof" if end in ("close_notify", "eof") else "connected"]


@sides
@versions
@pytest.mark.parametrize("stage", ["at once", "hello", "half a record", "finished"])
@pytest.mark.parametrize("how", ["eof", "reset", "garbage", "alert"])
def test_a_peer_that_breaks_off(same, tls, side, version, stage, how):
    async def main(lab):
        p, task, peer = opened(lab, side, tls.of(side, version), tls.other(side, version))
        if stage != "at once":
            if side == "server":
                peer.step(peer.obj.do_handshake)
            else:
                await peer.fill()
                peer.step(peer.obj.do_handshake)
            flight = peer.take()
            if stage == "half a record":
                await peer.raw(flight[:len(flight) // 2])
            else:
                await peer.raw(flight)
        if stage == "finished":
            await peer.fill()
            peer.step(peer.obj.do_handshake)         # what it has to say to that is not sent
        await lab.ticks()
        if how == "eof":
            peer.shutdown()
        elif how == "garbage":
            await peer.raw(HTTP * 1000)
        elif how == "alert":
            await peer.raw(b"\x15\x03\x03\x00\x02\x02\x28")             # fatal, handshake_failure
        else:
            reset(peer.sock)
        if stage == "half a record" and how in ("garbage", "alert"):
            await lab.ticks()
            with contextlib.suppress(OSError):
                peer.shutdown()                      # it may still be waiting for the rest
        found = await settled(task)
        if found[0] == "returned":
            await lab.seen("lost")
        return found[:None if found[0] != "returned" else 1]
    got = same(tls_scenario(main))
    if side == "client" and version == "TLSv1_3" and stage in ("hello", "finished"):
        assert [e[0] for e in got["log"]] == ["made"] + ["eof"] * (how == "eof") + ["lost"]         # it had the last word
    else:
        assert got["log"] == [] and got["result"][0] != "returned"


@sides
def test_a_handshake_that_takes_too_long(same, tls, side):
    async def main(lab):
        p, task, peer = opened(lab, side, tls.of(side), tls.other(side), tls_options={"ssl_handshake_timeout": 0.03})
        if side == "server":
            peer.step(peer.obj.do_handshake)
            await peer.flush()
        found = await settled(task)
        await peer.wait_end()
        return found, lab.loop.time() > 0
    got = same(tls_scenario(main))
    assert got["result"][0] == ["ConnectionAbortedError", "SSL handshake is taking longer than N seconds: aborting the connection"]
    assert got["log"] == [] and silent(got)


def test_a_time_limit_that_is_kept(same, tls):
    """It is over with the handshake, not with the connection."""
    async def main(lab):
        p, peer = await secure(lab, tls, "client", tls_options={"ssl_handshake_timeout": 0.2})
        await asyncio.sleep(0.25)
        await peer.write(b"still here")
        await lab.seen("data")
        await ended(lab, p, peer)
        return 1
    assert silent(same(tls_scenario(main)))


@pytest.mark.parametrize("value", [0, -1, 0.0, "1", True], ids=repr)
@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@sides
def test_time_limits_that_are_none(same, tls, side, name, value):
    async def main(lab):
        sock, other_sock = lab.pair("tcp")
        if value is True:
            p, task, peer = opened(lab, side, tls.of(side), tls.other(side), tls_options={name: value})
            await peer.handshake()
            await task
            await ended(lab, p, peer)
            return "fine"
        found = await failure(start(lab, side, lab.protocol(), sock, tls.of(side), **{name: value}))
        await asyncio.sleep(0)
        return found, sock.fileno() >= 0
    same(tls_scenario(main))


@versions
@pytest.mark.parametrize("debug", [False, True])
def test_a_certificate_the_client_does_not_trust(same, tls, version, debug):
    async def main(lab):
        p, task, peer = opened(lab, "client", tls.client(version, trust=tls.stranger), tls.server(version))
        seen = await failure(peer.handshake())
        return await settled(task), seen, await peer.wait_end()
    got = same(tls_scenario(main, debug))
    assert got["result"][0][0] == "SSLCertVerificationError" and got["log"] == [] and got["reports"] == []
    assert len(got["records"]) == (2 if debug else 0)


@versions
def test_the_client_under_test_is_not_trusted(same, tls, version):
    """With TLS 1.3 it is connected before it hears of it."""
    async def main(lab):
        ours = tls.client(version, certificate=tls.stranger)
        p, task, peer = opened(lab, "client", ours, tls.server(version, client=tls.certificate))
        seen = await failure(peer.handshake())
        found = await failure(task) if version == "TLSv1_2" else [(await task) is p.transport]
        if version == "TLSv1_3":
            await lab.seen("lost")
        else:
            await lab.ticks()
        return found, seen
    got = same(tls_scenario(main))
    assert got["result"][1][0] == "SSLCertVerificationError" and got["reports"] == []


@versions
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("shown", ["none", "stranger"])
def test_the_server_under_test_does_not_trust_the_client(same, tls, version, shown, debug):
    async def main(lab):
        theirs = tls.client(version, certificate=tls.stranger if shown == "stranger" else None)
        p, task, peer = opened(lab, "server", tls.server(version, client=tls.certificate), theirs)
        seen = await failure(peer.handshake())
        found = await settled(task)
        return found, seen if version == "TLSv1_2" else await failure(peer.read(1))
    got = same(tls_scenario(main, debug))
    assert got["log"] == [] and got["reports"] == []


@versions
@sides
def test_a_client_certificate(same, tls, side, version):
    async def main(lab):
        contexts = {"server": tls.server(version, client=tls.certificate), "client": tls.client(version, certificate=tls.certificate)}
        p, peer = await secure(lab, tls, side, ours=contexts[side], theirs=contexts[other(side)])
        t = p.transport
        mine, its = t.get_extra_info("peercert"), peer.obj.getpeercert()
        found = [mine == its, mine["subject"], t.get_extra_info("ssl_object").getpeercert() == mine,
                 t.get_extra_info("ssl_object").getpeercert(True) == peer.obj.getpeercert(True)]
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] == [True, [[["commonName", "localhost"]]], True, True]


@pytest.mark.parametrize("hostname", ["another.example", "localhost.", "127.0.0.1", "127.0.0.2", "LOCALHOST"])
def test_the_name_of_the_host(same, tls, hostname):
    async def main(lab):
        p, task, peer = opened(lab, "client", tls.client(), tls.server(), hostname=hostname)
        seen = await failure(peer.handshake())
        try:
            await task
        except ssl.SSLCertVerificationError as e:
            return [e.verify_code, e.verify_message, e.reason, e.library, e.errno, type(e).__name__], seen
        await ended(lab, p, peer)
        return "accepted"
    accepted = hostname in ("127.0.0.1", "LOCALHOST")
    assert (same(tls_scenario(main))["result"] == "accepted") == accepted


@pytest.mark.parametrize("hostname", ["", "a" * 300, "with\0null", "*", "ünï.example", ".localhost", b"localhost", 5], ids=ascii)
def test_names_that_are_none(same, tls, hostname):
    """What wrap_bio() raises comes out of create_connection()."""
    async def main(lab):
        sock, peer = lab.pair("tcp")
        found = await failure(start(lab, "client", lab.protocol(), sock, tls.client(), hostname=hostname, ssl_handshake_timeout=0.05))
        await asyncio.sleep(0)
        return found
    assert same(tls_scenario(main))["result"][0] != "returned"


def test_without_any_check_no_name_is_needed(same, tls):
    async def main(lab):
        context = tls.client()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        p, peer = await secure(lab, tls, "client", ours=context, hostname="")
        found = p.transport.get_extra_info("peercert"), p.transport.get_extra_info("ssl_object").server_hostname
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] == [{}, None]


@pytest.mark.parametrize("mine, its, chosen", [(["h2", "http/1.1"], ["http/1.1"], "http/1.1"), (["h2"], ["http/1.1"], None), (["h2"], None,
                                                                                                                              None),
                                               (None, ["h2"], None)])
@sides
def test_alpn(same, tls, side, mine, its, chosen):
    async def main(lab):
        ours, theirs = tls.of(side), tls.other(side)
        if mine:
            ours.set_alpn_protocols(mine)
        if its:
            theirs.set_alpn_protocols(its)
        p, peer = await secure(lab, tls, side, ours=ours, theirs=theirs)
        found = [p.transport.get_extra_info("ssl_object").selected_alpn_protocol(), peer.obj.selected_alpn_protocol()]
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] == [chosen] * 2


@versions
@sides
def test_nothing_in_common(same, tls, side, version):
    """The peer speaks the other version only."""
    async def main(lab):
        p, task, peer = opened(lab, side, tls.of(side, version), tls.other(side, "TLSv1_3" if version == "TLSv1_2" else "TLSv1_2"))
        seen = await failure(peer.handshake())
        return await settled(task), seen
    got = same(tls_scenario(main))
    assert got["result"][0][0] == "SSLError" and got["log"] == []


@sides
def test_cancelled_while_handshaking(same, tls, side):
    async def main(lab):
        p, task, peer = opened(lab, side, tls.of(side), tls.other(side))
        if side == "client":
            await peer.fill()
        await lab.ticks()
        task.cancel("enough")
        found = await settled(task)
        await peer.wait_end()
        return found
    got = same(tls_scenario(main))
    assert got["result"] == ["CancelledError", "enough"] and got["log"] == [] and silent(got)


@sides
def test_cancelled_as_the_handshake_ends(same, tls, side):
    """connection_made() was called already: the connection is closed as any other."""
    async def main(lab):
        p, task, peer = opened(lab, side, tls.of(side), tls.other(side), hooks={"connection_made": lambda p: task.cancel()})
        await peer.handshake()
        found = await failure(task)
        await peer.read_all()
        peer.close()
        await lab.seen("lost")
        return found
    got = same(tls_scenario(main))
    assert got["log"] == [["made"], ["eof"], ["lost", None]] or got["log"] == [["made"], ["lost", None]]


@sides
@pytest.mark.parametrize("act", ["close", "abort"])
def test_closed_in_connection_made(same, tls, side, act):
    """The waiter knows nothing of it: who connected is given the closing transport."""
    async def main(lab):
        p, task, peer = opened(lab, side, tls.of(side), tls.other(side), hooks={"connection_made": lambda p: getattr(p.transport, act)()})
        await failure(peer.handshake())              # after an abort it may come to an end before its own
        t = await task
        found = t.is_closing(), await peer.read_all()
        peer.close()
        await lab.seen("lost")
        return found
    got = same(tls_scenario(main))
    assert got["result"] == [True, [b"", CLOSE_NOTIFY if act == "close" else EOF]]


@sides
@pytest.mark.parametrize("error", [ValueError, ConnectionError, asyncio.CancelledError, ssl.SSLError], ids=lambda e: e.__name__)
def test_connection_made_raises(same, tls, side, error):
    async def main(lab):
        def made(p):
            raise error("from connection_made()")
        p, task, peer = opened(lab, side, tls.of(side), tls.other(side), hooks={"connection_made": made})
        await failure(peer.handshake())
        found = await settled(task)
        peer.close()
        return found
    got = same(tls_scenario(main))
    assert [e[0] for e in got["log"]] == ["made", "lost"]


@sides
@pytest.mark.parametrize("end", ["fails", "succeeds", "is cancelled", "times out"])
def test_nothing_is_left_of_a_handshake(same, tls, side, end):
    async def main(lab):
        ours = tls.of(side)
        p, task, peer = opened(lab, side, ours, tls.other(side), tls_options={"ssl_handshake_timeout": 0.05 if end == "times out" else 60})
        left = [weakref.ref(p), weakref.ref(ours)]
        del ours
        if end == "fails":
            await peer.raw(HTTP)
        elif end == "is cancelled":
            task.cancel()
        elif end == "succeeds":
            await peer.handshake()
            left.append(weakref.ref(await task))
            left.append(weakref.ref(p.transport.get_extra_info("ssl_object")))
            await ended(lab, p, peer)
        found = (await failure(task))[0]
        lab.log.clear()
        del p, task
        peer.lab = None
        del peer
        await lab.ticks()
        gc.collect()
        return found, [ref() is None for ref in left]
    assert all(same(tls_scenario(main))["result"][1])


@sides
def test_debug_mode_tells_of_it(same, tls, side):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        await peer.write(b"x")
        await lab.seen("data")
        peer.shutdown()
        await lab.seen("lost")
        return 1
    got = same(tls_scenario(main, debug=True))
    assert any("SSL handshake took" in text for _, text in got["records"])


def test_a_server_serves_on(same, tls):
    """Whatever the clients do in their handshakes."""
    async def main(lab):
        server = await lab.loop.create_server(lambda: lab.protocol(), "127.0.0.1", 0, ssl=tls.server(), ssl_handshake_timeout=0.1)
        address = server.sockets[0].getsockname()
        for how in ("garbage", "eof", "reset", "silence", "stranger"):
            peer = await lab.aio.open_connection(*address)
            reader, writer = peer
            if how == "garbage":
                writer.write(HTTP)
            elif how == "eof":
                writer.write_eof()
            elif how == "reset":
                reset(writer.get_extra_info("socket")._sock)
                writer.transport.abort()
            elif how == "stranger":
                await failure(lab.loop.create_connection(lab.protocol, *address, ssl=tls.client(trust=tls.stranger),
                                                         server_hostname="localhost"))
            if how != "reset":
                await reader.read()
            writer.close()
            await failure(writer.wait_closed())
        reader, writer = await lab.aio.open_connection(*address, ssl=tls.client(), server_hostname="localhost")
        writer.write(b"fine")
        await lab.seen("data")
        writer.close()
        await failure(writer.wait_closed())
        await lab.seen("lost")
        server.close()
        await server.wait_closed()
        return "fine"
    got = same(tls_scenario(main))
    assert got["log"] == [["made"], ["data", b"fine"], ["eof"], ["lost", None]] and silent(got)


@pytest.mark.parametrize("name, value", [("ssl_handshake_timeout", 0), ("ssl_shutdown_timeout", -1)])
@pytest.mark.parametrize("debug", [False, True])
def test_a_server_whose_time_limits_are_none(same, tls, name, value, debug):
    """It is told of only when somebody connects, and then in debug mode only."""
    async def main(lab):
        server = await lab.loop.create_server(lambda: lab.protocol(), "127.0.0.1", 0, ssl=tls.server(), **{name: value})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)         # asyncio leaves the accepted socket to the collector
            reader, writer = await lab.aio.open_connection(*server.sockets[0].getsockname())
            await lab.until(lambda: len(lab.errors.contexts) == debug)
            found = [[sorted(context), context["message"], plain(context["exception"])] for context in lab.errors.take()]
            await lab.ticks()
            gc.collect()
            found.append(await reader.read())
        writer.close()
        server.close()
        return found
    assert same(tls_scenario(main, debug))["result"][-1] == b""


def test_peer_is_a_working_oracle(aio, tls):
    """The bench's own peer against itself: what it says of the end of a stream is so."""
    from lab import Lab
    with Lab(aio) as lab:
        async def main(how):
            a, b = lab.pair("tcp")
            server, client = Peer(lab, a, tls.server(), True), Peer(lab, b, tls.client(), False)
            await asyncio.gather(server.handshake(), client.handshake())
            await client.write(b"hello")
            assert await server.read(5) == b"hello"
            if how == CLOSE_NOTIFY:
                await client.close_notify()
            else:
                client.shutdown()
            assert await server.read_all() == (b"", how)
        lab.run(main(CLOSE_NOTIFY))
        lab.run(main(EOF))
