"""Whatever an ssl.SSLContext can do works below a transport: SNI, sessions, key logs, subclasses that take part in everything."""
import asyncio
import gc
import ssl
import sys

import pytest

from lab_tls import Peer, ended, failure, opened, secure, sides, silent, start, tls_scenario, versions
from support import outcome, plain


async def say(lab, p, peer, data=b"hello"):
    """Something in each direction, so that whatever follows the handshake has been read."""
    p.transport.write(data)
    assert await peer.read(len(data)) == data
    await peer.write(data)
    await lab.seen("data")


# ---- extra info ----

@sides
@versions
def test_extra_info(same, tls, side, version):
    async def main(lab):
        context = tls.of(side, version)
        p, peer = await secure(lab, tls, side, ours=context, theirs=tls.other(side, version))
        t = p.transport
        obj = t.get_extra_info("ssl_object")
        found = [type(obj) is ssl.SSLObject, obj.server_side, obj.server_hostname, obj.version(), obj.context is context,
                 t.get_extra_info("sslcontext") is context, t.get_extra_info("cipher") == obj.cipher() == peer.obj.cipher(),
                 t.get_extra_info("peercert") == obj.getpeercert(), t.get_extra_info("compression"),
                 type(t.get_extra_info("socket")).__name__, t.get_extra_info("peername") == peer.sock.getsockname(),
                 t.get_extra_info("sockname") == peer.sock.getpeername(), t.get_extra_info("nothing"), t.get_extra_info("nothing", 5),
                 t.get_extra_info("ssl_object") is obj, obj.pending(), len(obj.get_channel_binding("tls-unique") or b"") > 0,
                 t.get_extra_info("socket").fileno() >= 0, outcome(t.get_extra_info)[1]]
        await ended(lab, p, peer)
        found += [[t.get_extra_info(name) is not None for name in ("sslcontext", "ssl_object", "cipher", "peercert", "socket", "peername")],
                  t.get_extra_info("socket", "gone"), t.is_closing()]
        return found
    got = same(tls_scenario(main))
    assert got["result"][-3] == [True, True, True, side == "client", False, False]


def test_extra_info_before_the_handshake_is_over(same, tls):
    """The SNI callback is where a program can see the ssl object first."""
    async def main(lab):
        seen = []
        context = tls.server()
        context.sni_callback = lambda obj, name, ctx: seen.append((obj, name, ctx))
        p, peer = await secure(lab, tls, "server", ours=context)
        (obj, name, ctx), = seen
        found = [obj is p.transport.get_extra_info("ssl_object"), name, ctx is context]
        seen.clear()
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] == [True, "localhost", True]


# ---- SNI ----

def test_sni_chooses_another_context(same, tls):
    async def main(lab):
        chosen = tls.server(certificate=tls.stranger)
        context = tls.server()

        def choose(obj, name, ctx):
            if name == "stranger.example":
                obj.context = chosen
        context.sni_callback = choose
        found = []
        for name, trust in (("localhost", None), ("stranger.example", tls.stranger)):
            sock, other = lab.pair("tcp")
            p = lab.protocol()
            peer = Peer(lab, other, tls.client(trust=trust), False, name)
            task = asyncio.ensure_future(start(lab, "server", p, sock, context))
            await peer.handshake()
            t = await task
            found.append([t.get_extra_info("ssl_object").context is chosen, t.get_extra_info("sslcontext") is context])
            await ended(lab, p, peer, len(found))
        return found
    assert same(tls_scenario(main))["result"] == [[False, True], [True, True]]


@versions
@pytest.mark.parametrize("answer", [None, ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME, ssl.ALERT_DESCRIPTION_ACCESS_DENIED, "text", "raises"],
                         ids=["None", "unrecognized", "denied", "text", "raises"])
def test_sni_refuses(same, tls, version, answer, monkeypatch):
    async def main(lab):
        unraisable = []
        monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(plain(args.exc_value)))
        context = tls.server(version)

        def choose(obj, name, ctx):
            if answer == "raises":
                raise LookupError(name)
            return answer
        context.sni_callback = choose
        p, task, peer = opened(lab, "server", context, tls.client(version))
        seen = await failure(peer.handshake())
        if answer is None:
            await task
            await ended(lab, p, peer)
            return seen, unraisable
        return seen, await failure(task), unraisable
    got = same(tls_scenario(main))
    assert (got["result"][0] == ["returned", None]) == (answer is None) and silent(got)


def test_no_name(same, tls):
    async def main(lab):
        names = []
        context = tls.server()
        context.sni_callback = lambda obj, name, ctx: names.append(name)
        theirs = tls.client()
        theirs.check_hostname = False
        sock, other = lab.pair("tcp")
        p, peer = lab.protocol(), Peer(lab, other, theirs, False, None)
        task = asyncio.ensure_future(start(lab, "server", p, sock, context))
        await peer.handshake()
        await task
        await ended(lab, p, peer)
        return names
    assert same(tls_scenario(main))["result"] == [None]


# ---- sessions ----

@versions
def test_the_server_under_test_resumes_sessions(same, tls, version):
    async def main(lab):
        ours, theirs, session, found = tls.server(version), tls.client(version), None, []
        for i in range(3):
            sock, other = lab.pair("tcp")
            p, peer = lab.protocol(), Peer(lab, other, theirs, False, session=session)
            task = asyncio.ensure_future(start(lab, "server", p, sock, ours))
            await peer.handshake()
            t = await task
            await say(lab, p, peer)
            session = peer.obj.session
            found.append([peer.obj.session_reused, t.get_extra_info("ssl_object").session_reused, session.has_ticket])
            await ended(lab, p, peer, i + 1)
            lab.log.clear()
            lab.log.extend([["lost"]] * (i + 1))
        return found, ours.session_stats()["accept_good"], ours.session_stats()["hits"]
    found, good, hits = same(tls_scenario(main))["result"]
    assert [f[:2] for f in found] == [[False] * 2, [True] * 2, [True] * 2] and (good, hits) == (3, 2)


@versions
def test_the_client_under_test_resumes_sessions(same, tls, version):
    """asyncio has no parameter for it; a context that gives wrap_bio() the session does."""
    class Context(ssl.SSLContext):
        known = None

        def wrap_bio(self, *args, **kwargs):
            return super().wrap_bio(*args, **kwargs, session=self.known)

    async def main(lab):
        ours, theirs, found = tls.client(version, kind=Context), tls.server(version), []
        for i in range(3):
            p, peer = await secure(lab, tls, "client", ours=ours, theirs=theirs)
            await say(lab, p, peer)
            obj = p.transport.get_extra_info("ssl_object")
            ours.known = obj.session
            found.append([obj.session_reused, peer.obj.session_reused])
            await ended(lab, p, peer, i + 1)
            lab.log.clear()
            lab.log.extend([["lost"]] * (i + 1))
        return found, ours.session_stats()["hits"]
    assert same(tls_scenario(main))["result"] == [[[False] * 2, [True] * 2, [True] * 2], 2]


# ---- contexts that listen ----

@sides
@versions
def test_a_key_log(same, tls, side, version, tmp_path):
    async def main(lab):
        ours = tls.of(side, version)
        ours.keylog_filename = str(tmp_path / f"{lab.aio.__name__}{len(list(tmp_path.iterdir()))}")
        p, peer = await secure(lab, tls, side, ours=ours, theirs=tls.other(side, version))
        await say(lab, p, peer)
        await ended(lab, p, peer)
        with open(ours.keylog_filename) as file:
            return [line.split()[0] for line in file if not line.startswith("#")]
    got = same(tls_scenario(main))["result"]
    assert ("CLIENT_RANDOM" in got) == (version == "TLSv1_2") and ("CLIENT_TRAFFIC_SECRET_0" in got) == (version == "TLSv1_3")


@sides
@versions
def test_a_message_callback(same, tls, side, version):
    """It hears of the handshake and of the alerts, in the transport's hands as in anybody's."""
    async def main(lab):
        heard = []
        ours = tls.of(side, version)
        ours._msg_callback = lambda conn, direction, v, content, message, data: heard.append([direction, content.name, message.name])
        p, peer = await secure(lab, tls, side, ours=ours, theirs=tls.other(side, version))
        await say(lab, p, peer)
        await ended(lab, p, peer)
        ours._msg_callback = None
        return [h for h in heard if h[1] in ("HANDSHAKE", "ALERT")]
    got = same(tls_scenario(main))["result"]
    assert ["write", "ALERT", "CLOSE_NOTIFY"] in got and ["read", "ALERT", "CLOSE_NOTIFY"] in got


class Counting(ssl.SSLObject):
    calls = None

    def note(self, name):
        if self.calls is None:
            self.calls = {}
        self.calls[name] = self.calls.get(name, 0) + 1

    def read(self, len=1024, buffer=None):
        self.note("read")
        got = super().read(len, buffer) if buffer is not None else super().read(len)
        self.calls["bytes read"] = self.calls.get("bytes read", 0) + (got if buffer is not None else memoryview(got).nbytes)
        return got

    def write(self, data):
        self.note("write")
        got = super().write(data)
        self.calls["bytes written"] = self.calls.get("bytes written", 0) + got
        return got

    def do_handshake(self):
        self.note("do_handshake")
        return super().do_handshake()

    def unwrap(self):
        self.note("unwrap")
        return super().unwrap()

    def getpeercert(self, binary_form=False):
        self.note("getpeercert")
        return super().getpeercert(binary_form)

    def cipher(self):
        self.note("cipher")
        return super().cipher()


@sides
@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("how", ["class", "instance"])
def test_an_ssl_object_that_counts(same, tls, side, buffered, how):
    """Every byte passes through the methods that a subclass overrides."""
    class Context(ssl.SSLContext):
        sslobject_class = Counting

    async def main(lab):
        ours = tls.of(side, kind=Context if how == "class" else ssl.SSLContext)
        if how == "instance":
            ours.sslobject_class = Counting
        p, peer = await secure(lab, tls, side, ours=ours, buffered=buffered)
        obj = p.transport.get_extra_info("ssl_object")
        await say(lab, p, peer, b"x" * 5000)
        await ended(lab, p, peer)
        return type(obj).__name__, [obj.calls[n] for n in ("bytes read", "bytes written", "getpeercert", "cipher")], sorted(obj.calls)
    got = same(tls_scenario(main))["result"]
    assert got[:2] == ["Counting", [5000, 5000, 1, 1]] and "do_handshake" in got[2] and "unwrap" in got[2]


@sides
def test_an_ssl_object_that_translates(same, tls, side):
    """Such a class may do as it likes with the data: nothing may go around it."""
    class Rot(ssl.SSLObject):
        def read(self, len=1024, buffer=None):
            return super().read(len).swapcase() if buffer is None else super().read(len, buffer)

        def write(self, data):
            return super().write(bytes(data).swapcase())

    class Context(ssl.SSLContext):
        sslobject_class = Rot

    async def main(lab):
        p, peer = await secure(lab, tls, side, ours=tls.of(side, kind=Context))
        p.transport.write(b"Hello")
        found = await peer.read(5)
        await peer.write(b"World")
        await lab.seen("data")
        await ended(lab, p, peer)
        return found
    got = same(tls_scenario(main))
    assert got["result"] == b"hELLO" and ["data", b"wORLD"] in got["log"]


@sides
@pytest.mark.parametrize("how", ["class", "instance"])
def test_wrap_bio_overridden(same, tls, side, how):
    async def main(lab):
        calls = []

        class Context(ssl.SSLContext):
            def wrap_bio(self, *args, **kwargs):
                calls.append([[type(a).__name__ for a in args], kwargs])
                return super().wrap_bio(*args, **kwargs)
        ours = tls.of(side, kind=Context if how == "class" else ssl.SSLContext)
        if how == "instance":
            original = ours.wrap_bio

            def wrap_bio(*args, **kwargs):
                calls.append([[type(a).__name__ for a in args], kwargs])
                return original(*args, **kwargs)
            ours.wrap_bio = wrap_bio
        p, peer = await secure(lab, tls, side, ours=ours)
        await say(lab, p, peer)
        await ended(lab, p, peer)
        return calls
    hostname = "localhost" if side == "client" else None
    assert same(tls_scenario(main))["result"] == [[["MemoryBIO", "MemoryBIO"], {"server_side": side == "server",
                                                                                "server_hostname": hostname}]]


@sides
@pytest.mark.parametrize("error", [ValueError, OSError, ssl.SSLError, KeyError], ids=lambda e: e.__name__)
def test_wrap_bio_raises(same, tls, side, error):
    class Context(ssl.SSLContext):
        def wrap_bio(self, *args, **kwargs):
            raise error("not today")

    async def main(lab):
        sock, peer = lab.pair("tcp")
        found = await failure(start(lab, side, lab.protocol(), sock, tls.of(side, kind=Context)))
        gc.collect()
        return found
    assert same(tls_scenario(main))["result"][0] == error.__name__


@sides
@pytest.mark.parametrize("method", ["do_handshake", "getpeercert", "cipher", "read", "write", "unwrap"])
@pytest.mark.parametrize("error", [ssl.SSLError, OSError, ValueError], ids=lambda e: e.__name__)
def test_a_method_of_the_ssl_object_raises(same, tls, side, method, error):
    def fail(self, *args):
        raise error(f"{method}() failed")

    async def main(lab):
        class Failing(ssl.SSLObject):
            pass

        class Context(ssl.SSLContext):
            sslobject_class = Failing
        p, task, peer = opened(lab, side, tls.of(side, kind=Context), tls.other(side))
        if method in ("read", "write", "unwrap"):
            await peer.handshake()
            await task
            setattr(Failing, method, fail)
            if method == "read":
                await peer.write(b"hello")
                await lab.seen("lost")
                return 1
            found = outcome(p.transport.write, b"hello"), outcome(p.transport.close)
            await lab.ticks()
            p.transport.abort()                  # close() may have come to nothing
            await lab.seen("lost")
            return found
        setattr(Failing, method, fail)
        if side == "server":
            await failure(peer.handshake())
        else:
            await failure(asyncio.wait_for(peer.handshake(), 0.2))
        if method == "do_handshake" and not isinstance(error(), ssl.SSLError):
            task.cancel()                        # nothing in asyncio catches it
        return await failure(task)
    same(tls_scenario(main))


# ---- the default context ----

def test_the_default_context(same, tls, monkeypatch):
    """ssl=True trusts what the system trusts."""
    async def main(lab, trusted):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", tls.certificate)
        else:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        p, task, peer = opened(lab, "client", True, tls.server())
        seen = await failure(peer.handshake())
        if not trusted:
            return seen, await failure(task)
        t = await task
        context = t.get_extra_info("sslcontext")
        found = seen, type(context).__name__, context.verify_mode.name, context.check_hostname
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main), True)["result"][1:] == ["SSLContext", "CERT_REQUIRED", True]
    assert same(tls_scenario(main), False)["result"][1][0] == "SSLCertVerificationError"


@pytest.mark.parametrize("what", ["server ssl=True", "client ssl=5", "start_tls None", "hostname without ssl", "time-out without ssl",
                                  "shutdown time-out without ssl", "no hostname", "server time-out without ssl", "server side context"])
def test_arguments_that_do_not_fit(same, tls, what):
    async def main(lab):
        sock, peer = lab.pair("tcp")
        loop, factory = lab.loop, lab.protocol
        if what == "server ssl=True":
            found = await failure(loop.create_server(factory, "127.0.0.1", 0, ssl=True))
        elif what == "client ssl=5":
            found = (await failure(loop.create_connection(factory, sock=sock, ssl=5, server_hostname="localhost")))[0]
        elif what == "start_tls None":
            t = await lab.attach(lab.protocol(), sock)
            found = await failure(loop.start_tls(t, lab.protocol(), None)), await failure(loop.start_tls(t, lab.protocol(),
                                                                                                         True)), t.is_closing()
            t.abort()
        elif what == "hostname without ssl":
            found = await failure(loop.create_connection(factory, sock=sock, server_hostname="localhost"))
        elif what == "time-out without ssl":
            found = await failure(loop.create_connection(factory, sock=sock, ssl_handshake_timeout=1))
        elif what == "shutdown time-out without ssl":
            found = await failure(loop.create_connection(factory, sock=sock, ssl_shutdown_timeout=1)), await failure(
                loop.connect_accepted_socket(factory, sock, ssl_shutdown_timeout=1))
        elif what == "no hostname":
            found = await failure(loop.create_connection(factory, sock=sock, ssl=tls.client()))
        elif what == "server time-out without ssl":
            found = await failure(loop.create_server(factory, "127.0.0.1", 0, ssl_handshake_timeout=1)), await failure(
                loop.connect_accepted_socket(factory, sock, ssl_handshake_timeout=1))
        else:
            found = await failure(start(lab, "client", lab.protocol(), sock, tls.server())), await failure(
                start(lab, "server", lab.protocol(), peer, tls.client()))
        await asyncio.sleep(0)
        gc.collect()
        return found
    same(tls_scenario(main))
