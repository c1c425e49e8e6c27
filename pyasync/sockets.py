"""What the event loop does with sockets and is written in Python: the less frequent coroutines around the operations of
csrc/net/sock_ops.c (the others are in csrc/sync/sockets.c), and asyncio's own methods where they are not hot.
"""
import socket

from asyncio import base_events, selector_events


def _is_numeric(host, port):
    """Whether getaddrinfo() has nothing to look up: an address in numbers, perhaps with a scope, and a port in numbers."""
    if not isinstance(host, str) or not (port is None or isinstance(port, int) or isinstance(port, str) and port.isdigit()):
        return False
    for family, text in ((socket.AF_INET, host), (socket.AF_INET6, host.partition("%")[0])):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


class SocketMethods:
    """A base of EventLoop, between the native loop and asyncio's BaseEventLoop."""

    # ---- Operations on the user's sockets ----
    # Coroutine functions, as asyncio's: the arguments are looked at when the coroutine starts, and one that is never awaited warns.

    async def sock_recvfrom_into(self, sock, buf, nbytes=0):
        """Receive a datagram of up to nbytes bytes (0: as many as fit) into buf; return (number of bytes, address)."""
        self._check_sock(sock)
        if not nbytes:
            nbytes = len(buf)
        return await self._begin_sock_recvfrom_into(sock, buf, nbytes)

    async def sock_connect(self, sock, address):
        """Connect to a remote address; host names are resolved."""
        self._check_sock(sock)
        if sock.family == socket.AF_INET or (base_events._HAS_IPv6 and sock.family == socket.AF_INET6):
            resolved = await self._ensure_resolved(address, family=sock.family, type=sock.type, proto=sock.proto, loop=self)
            _, _, _, _, address = resolved[0]
        return await self._begin_sock_connect(sock, address)

    # ---- Names ----

    async def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
        """socket.getaddrinfo() in the default executor; at once if host and port are numbers."""
        if not self._debug and _is_numeric(host, port):
            self._check_closed()
            try:
                return socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
            except OSError:          # for an unknown scope the error is that of a look-up
                pass
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)

    # ---- Transports ----

    # Where a connection is not accepted natively (TLS, debug mode, a replaced factory), it is accepted as asyncio does.
    _accept_connection = selector_events.BaseSelectorEventLoop._accept_connection
    _accept_connection2 = selector_events.BaseSelectorEventLoop._accept_connection2

    # ---- sendfile ----

    async def _sendfile_native(self, transp, file, offset, count):
        """os.sendfile() on the transport's socket, once what was written before has gone out."""
        resume_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        transp._lend_fd()
        try:
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            transp._take_fd_back()
            if resume_reading:
                transp.resume_reading()
