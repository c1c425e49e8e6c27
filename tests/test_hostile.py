"""User code that re-enters, drops the last reference, closes the loop or initialises live objects again, from wherever it is called."""
import asyncio
import gc
import selectors
import socket

import pytest

from support import PY


# --- transports and descriptors ----------------------------------------------------------------------------------------

def test_closing_a_loop_drops_a_transport_that_never_started(aio):
    loop = aio.new_event_loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    loop._make_socket_transport(here, asyncio.Protocol())
    with pytest.warns(ResourceWarning):   # the transport lies among the callbacks that close() forgets
        loop.close()
        gc.collect()
    here.close()
    there.close()
