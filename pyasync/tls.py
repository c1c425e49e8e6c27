"""TLS: asyncio's sslproto with its data phase in C (csrc/net/tls.h), and what makes connections of it.

Handshake, shutdown, time-outs, extra info and reports are asyncio's own code on the native protocol's fields. What the application wrote
may not be encrypted yet (it is put off to the end of the tick), so whatever could tell sends it first.

PYASYNC_TLS=bio or openssl in the environment says how bytes are encrypted; without it that is found out (`_core._tls_reason()`).
"""
import os
from asyncio import base_events, sslproto, streams

from . import _core
from .rebound import rebound

_core._use_tls_engine(os.environ.get("PYASYNC_TLS") or "auto")


@_core._own_methods
class _SSLProtocolTransport(_core.SSLTransport, sslproto._SSLProtocolTransport):
    __module__ = "pyasync"
    __doc__ = "What the application has of a TLS connection."


class SSLProtocol(_core.SSLProtocol, sslproto.SSLProtocol):
    """The protocol of the transport below a TLS connection."""
    __module__ = "pyasync"

    _get_app_transport = rebound(sslproto.SSLProtocol._get_app_transport,
                                 {**vars(sslproto), "_SSLProtocolTransport": _SSLProtocolTransport})

    def _raise(self, exc):
        raise exc                              # so that it has a traceback, as what asyncio's Python code raises

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self._release()

    def eof_received(self):
        self._flush()
        return super().eof_received()

    def _start_shutdown(self):
        self._flush()
        super()._start_shutdown()

    def _abort(self, *exc):                  # 3.11 and 3.12 give it no exception
        self._flush()
        super()._abort(*exc)

    def _fatal_error(self, exc, message="Fatal error on transport"):
        self._flush_last()
        super()._fatal_error(exc, message)

    def _set_write_buffer_limits(self, high=None, low=None):
        self._flush()
        super()._set_write_buffer_limits(high, low)


_HANDSHAKE = 0x16                             # the first byte of a record that begins one


def _protocol_for_start_tls(loop, protocol, sslcontext, waiter, server_side, server_hostname, **kwargs):
    """start_tls()'s SSLProtocol. What a client sent before the server began may be in the StreamReader already. From 3.14 on asyncio
    moves all of it to the SSLProtocol; until then it is plain text and stays, unless it is a handshake, which would be lost there."""
    ssl_protocol = SSLProtocol(loop, protocol, sslcontext, waiter, server_side, server_hostname, **kwargs)
    reader = getattr(protocol, "_stream_reader", None) if server_side and isinstance(protocol, streams.StreamReaderProtocol) else None
    if reader is not None and reader._buffer and reader._buffer[0] == _HANDSHAKE:
        ssl_protocol._incoming.write(reader._buffer)
        reader._buffer.clear()
    return ssl_protocol


class _Sslproto:
    SSLProtocol = staticmethod(_protocol_for_start_tls)


class TLSMethods:
    """A base of EventLoop."""

    start_tls = rebound(base_events.BaseEventLoop.start_tls, {**vars(base_events), "sslproto": _Sslproto})

    def _make_ssl_transport(self, rawsock, protocol, sslcontext, waiter=None, *, server_side=False, server_hostname=None,
                            extra=None, server=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None, **context):
        ssl_protocol = SSLProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname,
                                   ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout)
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server, **context)
        return ssl_protocol._app_transport
