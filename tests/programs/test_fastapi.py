"""A FastAPI application under uvicorn, a process of its own, visited by concurrent clients over TCP and over TLS.

The clients are threads with http.client: nothing of asyncio is on their side.
"""
import hashlib
import http.client
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

for package in ("fastapi", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed")

UVICORN = [sys.executable, "-m", "uvicorn", "fastapi_app:app"]
WAYS = {
    "asyncio": [*UVICORN, "--loop", "asyncio"],
    "asyncio, own script": [sys.executable, "fastapi_serve.py"],
    "--loop pyasync:new_event_loop": [*UVICORN, "--loop", "pyasync:new_event_loop"],
    "python -m pyasync -m uvicorn": [sys.executable, "-m", "pyasync", "-m", "uvicorn", "fastapi_app:app", "--loop", "asyncio"],
    "import as asyncio": [sys.executable],              # and an edited copy of fastapi_serve.py
    "python -m pyasync": [sys.executable, "-m", "pyasync", "fastapi_serve.py"],
}


class Server:
    """A uvicorn process; its output is read all the time, so that it never waits for a full pipe."""

    def __init__(self, args, cwd, env, ssl_context):
        self.ssl_context, self.lines, self.port = ssl_context, [], None
        self.ready = threading.Event()
        self.process = subprocess.Popen([*args, "--port", "0"], cwd=cwd, env=env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        if not self.ready.wait(30) or self.port is None:
            self.process.kill()
            self.reader.join()
            pytest.fail("the server did not come up:\n" + "".join(self.lines))

    def read(self):
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line)
                if found := re.search(r"running on https?://127\.0\.0\.1:(\d+)", line):
                    self.port = int(found[1])
                    self.ready.set()
        self.ready.set()

    def connect(self):
        if self.ssl_context is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        return http.client.HTTPSConnection("localhost", self.port, timeout=20, context=self.ssl_context)

    def ask(self, method, path, body=None, connection=None):
        own = connection is None
        connection = connection or self.connect()
        try:
            headers = {"Content-Type": "application/json"} if isinstance(body, dict) else {}
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            if own:
                connection.close()

    def json(self, *args, **kwargs):
        status, body = self.ask(*args, **kwargs)
        assert status == 200, (status, body)
        return json.loads(body)

    def finish(self):
        status = self.process.wait(20)
        self.reader.join(20)
        return status, "".join(self.lines)


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture(params=["tcp", "tls"])
def server(request, way, issued, tmp_path, programs):
    args = WAYS[way]
    if way == "import as asyncio":
        args = programs.command(way, "fastapi_serve", tmp_path)
    context = None
    if request.param == "tls":
        certificate, key, authority = issued
        args = [*args, "--ssl-certfile", certificate, "--ssl-keyfile", key]
        context = ssl.create_default_context(cafile=authority)
    server = Server(args, programs.HERE, programs.environment(), context)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.finish()


def a_client(server, number):
    """Twenty requests on one connection; returns how many answers were right."""
    connection, right = server.connect(), 0
    try:
        for i in range(20):
            n = 100 * number + i
            if i % 2:
                right += server.json("GET", f"/blocking/{n}", connection=connection) == {"number": n}
            else:
                item = {"name": "x" * 100, "price": n, "tags": ["a", "b"]}
                right += server.json("POST", f"/items/{n}", item, connection=connection) == {"number": n, "total": 2 * n, "open": True}
    finally:
        connection.close()
    return right


def eventually(server, key, value):
    deadline = time.monotonic() + 10
    while server.json("GET", "/state")[key] != value:
        assert time.monotonic() < deadline, server.json("GET", "/state")
        time.sleep(0.02)


def give_up_halfway(server):
    connection = server.connect()
    connection.request("GET", "/endless")
    response = connection.getresponse()
    assert len(response.read(1_000_000)) == 1_000_000
    response.close()
    connection.close()


def test_application(server, way, check_kind):
    where = server.json("GET", "/where")
    check_kind(way, where["loop"])
    check_kind(way, where["task"])

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda n: a_client(server, n), range(16))) == [20] * 16

    body = bytes(range(256)) * 4 * 1024 * 8
    assert server.json("PUT", "/upload", body) == {"size": len(body), "digest": hashlib.sha256(body).hexdigest()}
    status, stream = server.ask("GET", "/download/100")
    assert status == 200 and stream == b"".join(i.to_bytes(8, "big") * 8192 for i in range(100))
    give_up_halfway(server)
    eventually(server, "disconnected", 1)

    assert server.json("POST", "/background") == {"accepted": True}
    eventually(server, "background", 1)
    assert server.ask("POST", "/items/1", {"name": "no price"})[0] == 422
    assert server.ask("GET", "/teapot") == (418, b'{"detail":"short and stout"}')
    assert server.ask("GET", "/broken")[0] == 500
    assert server.json("GET", "/state") == {"connections": 0, "background": 1, "disconnected": 1}

    server.process.send_signal(signal.SIGTERM)
    status, log = server.finish()
    assert status == -signal.SIGTERM, log
    assert "lifespan: up" in log and "lifespan: down" in log and "Finished server process" in log
    assert log.count("Traceback (most recent call last)") == log.count("RuntimeError: this page is broken on purpose"), log
    for complaint in ("was never retrieved", "was never awaited", "was destroyed but it is pending", "ResourceWarning"):
        assert complaint not in log, log


def test_ctrl_c(server, way):
    """A request under way is answered to its end before the server goes down."""
    connection = server.connect()
    connection.request("GET", "/download/400")
    response = connection.getresponse()
    size = len(response.read(1000))
    server.process.send_signal(signal.SIGINT)
    size += len(response.read())
    connection.close()
    assert (response.status, size) == (200, 400 * 64 * 1024)
    status, log = server.finish()
    assert "Finished server process" in log and "lifespan: down" in log, log
    # uvicorn's command line swallows the KeyboardInterrupt that it raises again at the end, asyncio.run does not
    assert status == (0 if "uvicorn" in WAYS[way] else -signal.SIGINT), log
