"""Programs of libraries whose own tests are not on PyPI, as in tests/programs: each in a process of its own, on asyncio (the control)
and by every way into pyasync. `python tests/libraries NAME` makes an environment with the library; without it the tests are skipped.
"""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import ways

PROGRAMS = ways.Programs(__file__.rpartition("/")[0])


@pytest.fixture(params=ways.WAYS)
def way(request):
    return request.param


@pytest.fixture
def programs():
    return PROGRAMS


@pytest.fixture
def run_program(way, tmp_path):
    """Runs a program and returns its result; on which loop and in which kind of task it ran is looked at here."""
    def run(program, *args, timeout=100):
        result = json.loads(PROGRAMS.run(way, program, *args, cwd=tmp_path, timeout=timeout))
        ways.check_kind(way, result.pop("loop"))
        ways.check_kind(way, result.pop("main task"))
        return result
    return run


class Server:
    """A server of the system's, started for the tests."""

    def __init__(self, command, folder, is_up, **options):
        self.log = folder / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
        deadline = time.monotonic() + 30
        while not is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"{command[0]} did not come up:\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(30)


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.fixture
def free_port():
    return unused_port()


def is_listening(port):
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """(port, path of the Unix socket) of a Redis of our own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    folder = tmp_path_factory.mktemp("redis")
    port, path = unused_port(), folder / "socket"
    server = Server([program, "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(path), "--save", "", "--dir", str(folder)],
                    folder, lambda: is_listening(port) and path.exists())
    yield port, str(path)
    server.stop()


def postgres_program(name):
    found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True), shutil.which(name)]
    if found[0] is None:
        pytest.skip(f"PostgreSQL's {name} is not installed (Debian: postgresql)")
    return str(found[0])


@pytest.fixture(scope="session")
def postgres_server(issued):
    """(port, folder of the Unix socket) of a PostgreSQL of our own, with TLS. It refuses to run as root: then it is run as nobody."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:      # pytest's folders are for their owner alone
        with started_postgres(Path(folder), issued) as found:
            yield found


@contextlib.contextmanager
def started_postgres(folder, issued):
    data, port = folder / "data", unused_port()
    nobody = {"user": "nobody"} if os.getuid() == 0 else {}
    files = [Path(shutil.copy(path, folder)) for path in issued[:2]]
    if nobody:
        for path in (folder, *files):
            shutil.chown(path, **nobody)
    files[1].chmod(0o600)
    subprocess.run([postgres_program("initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "--no-sync"], check=True,
                   capture_output=True, cwd=folder, **nobody)
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off", "ssl": "on",
               "ssl_cert_file": files[0], "ssl_key_file": files[1]}
    server = Server([postgres_program("postgres"), "-D", str(data), *(f"-c{name}={value}" for name, value in options.items())], folder,
                    lambda: is_listening(port), cwd=folder, **nobody)
    yield port, str(folder)
    server.stop(signal.SIGINT)                               # does not wait for its clients
