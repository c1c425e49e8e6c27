"""Echo of datagrams: the measured loop answers on one processor, the C client of bench_echo.py asks from
another. The floor is a C server on one socket that receives and sends until nothing is there.
"""
import native
from bench_echo import sample
from harness import asyncio, case


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


def c_server(sockets, size):
    def measure(seconds):
        with native.EchoServer("udp") as server:
            return sample(native.echo_load(f"udp:{server.address}", sockets, size, seconds, clock=server.cpu_clock))
    return measure


async def serve(sockets, size, seconds):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    load = await loop.run_in_executor(None, native.echo_load, f"udp:{host}:{port}", sockets, size, seconds)
    transport.close()
    await asyncio.sleep(0)
    return sample(load)


@case("udp_1k", operation="datagram", times_itself=True, floor=c_server(10, 1024),
      about="datagrams of 1 KiB, 10 senders, one in flight each")
async def udp_1k(seconds):
    return await serve(10, 1024, seconds)


@case("udp_1k_one", operation="datagram", times_itself=True, floor=c_server(1, 1024), about="datagrams of 1 KiB, one sender")
async def udp_1k_one(seconds):
    return await serve(1, 1024, seconds)
