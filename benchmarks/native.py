"""The C programs of the benchmarks: built on the spot with the system's compiler, run beside the measured process."""
import importlib.util
import json
import os
import platform
import shlex
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Apart for every kind of machine and C library, so that one source tree serves several.
BUILD = HERE / ".build" / "-".join([platform.machine(), *platform.libc_ver()])


def compiler():
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[:1]


def build(source, target, *flags):
    """Compile one file, if it is newer than what was made of it; the path as text."""
    source, target = HERE / "c" / source, BUILD / target
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{os.getpid()}.{target.name}")
        subprocess.run([*compiler(), "-O2", "-std=c11", "-Wall", "-Wextra", *flags, "-o", unfinished, source], check=True)
        unfinished.replace(target)
    return str(target)


def program(name):
    return build(f"{name}.c", name)


def extension(name):
    """One of the C files as an extension module of the running Python."""
    path = build(f"{name}.c", name + sysconfig.get_config_var("EXT_SUFFIX"), "-O3", "-fPIC", "-shared", "-Wno-missing-field-initializers",
                 f"-I{sysconfig.get_path('include')}")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def floor():
    """The floor under the scheduler."""
    return extension("floor")


def counted():
    """The switch of callgrind's counting; needs valgrind's headers."""
    return extension("counted")


def prepare():
    """Build everything now, so that no measurement waits for a compiler."""
    program("echo_client"), program("echo_server"), program("connect_client"), floor()


def echo_load(address, connections, size, seconds, warmup=None, rate=None, clock=time.process_time):
    """Run the load client to its end, with messages of `size` bytes that must come back; its JSON as a dict. Blocks: call it from a thread.

    rate: requests a second over all connections, None as many as the server answers. clock: the server's CPU time; what it showed during
    the measured part is `cpu_seconds` in the answer.
    """
    return run_client([], address, connections, size, seconds, warmup, rate, clock)


def load(address, connections, request, answer, seconds, *, compare=None, hello=None, warmup=None, rate=None):
    """The same with any protocol of requests and answers of constant size, as bytes.

    compare: how many bytes of the answer are looked at, None all. hello: what each connection sends first, and is
    answered with a header that an empty line ends.
    """
    with tempfile.TemporaryDirectory() as directory:
        options = [] if compare is None else ["-c", str(compare)]
        for letter, content in {"q": request, "a": answer, "u": hello}.items():
            if content is not None:
                path = Path(directory, letter)
                path.write_bytes(content)
                options += [f"-{letter}", str(path)]
        return run_client(options, address, connections, 0, seconds, warmup, rate, time.process_time)


def run_client(options, address, connections, size, seconds, warmup, rate, clock):
    warmup = seconds / 3 if warmup is None else warmup
    if rate is not None:
        options = [*options, "-r", str(rate)]
    command = [program("echo_client"), *options, address, str(connections), str(size), str(int(warmup * 1000)),
               str(int(seconds * 1000)), os.environ.get("BENCH_CLIENT_CPU", "-1")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        client.stdout.readline()                # the warm-up is over, and with it the making of connections and of this process
        before = clock()
        result = client.stdout.read()
        cpu_seconds = clock() - before
        complaint = client.stderr.read().strip()
    if client.returncode:
        raise RuntimeError(complaint or f"echo_client: status {client.returncode}")
    return json.loads(result) | {"cpu_seconds": cpu_seconds}


def connect_load(address, batch, seconds):
    """Run the client that connects and waits for the server to close, `batch` connections at a time; its JSON as a dict. Blocks."""
    host, port = address
    limit = 30 + 2 * seconds
    try:
        run = subprocess.run([program("connect_client"), host, str(port), str(batch), str(int(seconds * 1000 / 3)), str(int(seconds * 1000)),
                              os.environ.get("BENCH_CLIENT_CPU", "-1")], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the client had waited {limit:.0f} s for the server") from None
    if run.returncode:
        raise RuntimeError(run.stderr.strip() or f"connect_client: status {run.returncode}")
    return json.loads(run.stdout)


def certificate():
    """A self-signed certificate for localhost with its key, in one file, made by the openssl program on first use; the path as text."""
    target = BUILD / "localhost.pem"
    if not target.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as directory:
            key, issued = Path(directory, "key"), Path(directory, "certificate")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", issued, "-days", "3650",
                            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
            key.write_bytes(key.read_bytes() + issued.read_bytes())
            key.replace(target)
    return str(target)


class EchoServer:
    """The C echo server as a context manager; `.address`. `what`: a Unix path, or "udp"."""

    def __init__(self, what=None):
        self.arguments = [what] if what else []

    def __enter__(self):
        self.process = subprocess.Popen([program("echo_server"), os.environ.get("BENCH_SERVER_CPU", "-1"), *self.arguments],
                                        stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError(f"echo_server: status {self.process.wait()}")
        return self

    def cpu_clock(self):
        """CPU time the server has used until now, in seconds."""
        return time.clock_gettime(~self.process.pid << 3 | 2)       # Linux's clock of another process, see clock_getcpuclockid(3)

    def __exit__(self, *exc_info):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
