"""Every behaviour test runs on asyncio and on pyasync: asyncio says what is right, pyasync has to agree.

--only=asyncio (or -k asyncio) runs the asyncio half alone, where pyasync is not built; --only=pyasync the other half.
"""
import asyncio
import gc
import importlib
import os
import signal
import subprocess
import sys

import pytest

from lab_tls import Tls
from support import Errors, fresh_loop, nonblocking_pair, open_fds

MODULES = ("asyncio", "pyasync")
TLS_ENGINES = ("bio", "openssl")                # how pyasync encrypts: tests of TLS run with each


def pytest_addoption(parser):
    parser.addoption("--only", choices=MODULES, help="run the tests on this module only")


def pytest_configure(config):
    # a coroutine never awaited, a socket left open, an exception in __del__: each fails the test that did it
    config.addinivalue_line("filterwarnings", "error")
    # A shell starts its background jobs with Ctrl-C ignored, and what they start inherits that: tests that send it would wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item, settings):
    item.timeout_settings = settings


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node):
    """pytest-timeout's clock stops when a test fails; taking down what a failed test left can hang, too."""
    if hasattr(node, "timeout_settings") and not node.config.getoption("usepdb"):
        node.ihook.pytest_timeout_set_timer(item=node, settings=node.timeout_settings)


def pytest_generate_tests(metafunc):
    if "aio" in metafunc.fixturenames:
        only = metafunc.config.getoption("--only")
        modules = [only] if only else MODULES
        if metafunc.module.__name__.startswith("test_tls"):
            ways = [(module, engine) for module in modules for engine in (TLS_ENGINES if module == "pyasync" else [None])]
            metafunc.parametrize("aio,tls_engine", ways, indirect=True, ids=["-".join(filter(None, way)) for way in ways])
        else:
            metafunc.parametrize("aio", modules, indirect=True)


@pytest.fixture(scope="session", autouse=True)
def frozen_heap():
    """What is frozen need not be scanned again by every collection that the tests ask for; `aio` freezes before each test what
    pytest has piled up since. Without it the collections were 70 % of the suite's time."""
    yield
    gc.unfreeze()


@pytest.fixture
def aio(request):
    """The module under test."""
    module = importlib.import_module(request.param)
    gc.collect()
    gc.freeze()
    before = open_fds()
    yield module
    assert asyncio._get_running_loop() is None
    gc.collect()
    leaked = {fd: to for fd, to in open_fds().items() if fd not in before}
    assert not leaked, f"descriptors left open: {leaked}"


@pytest.fixture(autouse=True)
def tls_engine(request):
    """What PYASYNC_TLS says, for the time of a test of TLS; openssl fails where Python's OpenSSL cannot be driven directly."""
    engine = getattr(request, "param", None)
    if engine is None:
        yield None
        return
    core = importlib.import_module("pyasync._core")
    core._use_tls_engine(engine)
    yield engine
    core._use_tls_engine(os.environ.get("PYASYNC_TLS") or "auto")


@pytest.fixture
def errors():
    """What the loop's exception handler saw. A test takes what it expects; anything left fails it."""
    return Errors()


@pytest.fixture
def loop(aio, errors):
    """A loop of the module under test, current nowhere."""
    with fresh_loop(aio, errors) as loop:
        yield loop


@pytest.fixture
def run(loop):
    return loop.run_until_complete


@pytest.fixture
def same(aio):
    """same(scenario) runs scenario(module) on asyncio and on the module under test and wants equal, plain results."""
    def check(scenario, *args):
        expected = scenario(asyncio, *args)
        assert expected is not None, "a scenario has to return what is to be compared"
        got = scenario(aio, *args)
        assert got == expected
        return got
    return check


@pytest.fixture
def pair():
    """Two connected, non-blocking sockets."""
    a, b = nonblocking_pair()
    yield a, b
    a.close()
    b.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost and its key, in one PEM file."""
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    key = path.with_suffix(".key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(path),
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, capture_output=True)
    path.write_text(path.read_text() + key.read_text())
    return str(path)


@pytest.fixture(scope="session")
def tls(certificate, tmp_path_factory):
    """Contexts for both sides, of `certificate` or a stranger's."""
    return Tls(certificate, tmp_path_factory.mktemp("tls"))


@pytest.fixture
def script(aio, tmp_path):
    """Runs a script in a process of its own, `aio` being the module under test there."""
    def start(source, *args, timeout=30, flags=(), **kwargs):
        path = tmp_path / "script.py"
        path.write_text(f"import {aio.__name__} as aio\n" + source)
        kwargs["env"] = {**kwargs.get("env", os.environ), "PYTHONPATH": os.path.dirname(os.path.dirname(aio.__file__))}
        return subprocess.run([sys.executable, *flags, str(path), *args], capture_output=True, text=True,
                              timeout=timeout, **kwargs)
    return start


@pytest.fixture(scope="session")
def issued(tmp_path_factory):
    """Paths of a certificate for localhost, of its key, and of the authority that clients have to trust."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed")
    folder = tmp_path_factory.mktemp("issued")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key, ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    return str(certificate), str(key), str(ca)
