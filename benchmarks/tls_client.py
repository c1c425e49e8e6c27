"""Load client of the TLS benchmarks, a process of its own: blocking sockets, one message in flight on each connection.

    python tls_client.py echo HOST PORT CERTIFICATE CONNECTIONS BYTES WARMUP_SECONDS SECONDS CPU     prints a line of JSON
    python tls_client.py idle HOST PORT CERTIFICATE CONNECTIONS      prints a line when all are open, ends when its input does

CERTIFICATE "-": no TLS. It is Python, and slower than the servers it measures: what counts is the CPU time of the server.
"""
import json
import os
import socket
import ssl
import sys
import time


def connect(host, port, certificate, count):
    context = None if certificate == "-" else ssl.create_default_context(cafile=certificate)
    connections = []
    for _ in range(count):
        sock = socket.create_connection((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.append(context.wrap_socket(sock, server_hostname="localhost") if context else sock)
    return connections


def close(connections):
    for connection in connections:
        connection.close()


def echo(host, port, certificate, count, size, warmup, seconds, cpu):
    if int(cpu) >= 0:
        os.sched_setaffinity(0, {int(cpu)})
    connections = connect(host, port, certificate, int(count))
    message = bytes(i * 131 % 251 for i in range(int(size)))
    answer = memoryview(bytearray(len(message)))
    begin, start, now = time.perf_counter() + float(warmup), None, 0
    total = measured = 0
    while not measured or now < start + float(seconds):         # some at least, however busy the machine is
        for connection in connections:
            connection.sendall(message)
        for connection in connections:
            got = 0
            while got < len(message):
                n = connection.recv_into(answer[got:])
                if not n:
                    raise SystemExit("the server closed")
                got += n
            if answer != message:
                raise SystemExit("wrong data")
        now = time.perf_counter()
        total += len(connections)
        if start is not None:
            measured += len(connections)
        elif now >= begin:
            start = now
    close(connections)
    print(json.dumps({"requests": measured, "seconds": now - start, "total_requests": total}))


def idle(host, port, certificate, count):
    connections = connect(host, port, certificate, int(count))
    print(len(connections), flush=True)
    sys.stdin.read()
    close(connections)


if __name__ == "__main__":
    {"echo": echo, "idle": idle}[sys.argv[1]](*sys.argv[2:])
