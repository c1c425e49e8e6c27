"""Real programs, each started in a process of its own on asyncio (the control) and by every way into pyasync.

A program here imports only asyncio and third-party packages; what it runs on is decided by how it is started.
"""
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

RUNNER = """
import asyncio, importlib, pyasync, sys
sys.argv = sys.argv[1:]
program = importlib.import_module(sys.argv[0])
with asyncio.Runner(loop_factory=pyasync.new_event_loop) as runner:
    program.report(runner.run(program.main(*sys.argv[1:])))
"""

POLICY = """
import asyncio, pyasync, runpy, sys, warnings
sys.argv = sys.argv[1:]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    asyncio.set_event_loop_policy(pyasync.EventLoopPolicy())
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

INSTALL = """
import pyasync
pyasync.install()
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

WAYS = ["asyncio", "import as asyncio", "Runner(loop_factory)", "install()", "python -m pyasync"]
if sys.version_info < (3, 16):                          # the last to have policies
    WAYS.append("policy")


def command(way, program, folder):
    """How to start that program of this folder by that way; folder is a place for an edited copy."""
    if way == "asyncio":
        return [sys.executable, str(HERE / f"{program}.py")]
    if way == "import as asyncio":
        source = (HERE / f"{program}.py").read_text()
        edited, n = re.subn(r"^import asyncio$", "import pyasync as asyncio", source, flags=re.M)
        assert n == 1
        copy = folder / f"{program}.py"
        copy.write_text(edited)
        return [sys.executable, str(copy)]
    if way == "python -m pyasync":
        return [sys.executable, "-m", "pyasync", str(HERE / f"{program}.py")]
    return [sys.executable, "-c", {"Runner(loop_factory)": RUNNER, "policy": POLICY, "install()": INSTALL}[way], program]


def environment():
    """Warnings shown, and this checkout's pyasync and these programs importable."""
    path = [str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONWARNINGS": "default::ResourceWarning"}


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def kind_checker(way, classes):
    """classes: names of a class and its bases, innermost first, as the program itself reported them."""
    if way.startswith("asyncio"):
        assert not any(name.startswith("pyasync") for name in classes), classes
    else:
        assert any(name.startswith(("pyasync._core.", "pyasync.Task")) for name in classes), classes


@pytest.fixture
def check_kind():
    return kind_checker


@pytest.fixture
def programs():
    """This module's helpers: `conftest` in sys.modules may be another folder's, whichever was loaded last."""
    return types.SimpleNamespace(HERE=HERE, command=command, environment=environment)


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """Paths of a certificate for localhost, of its key, and of the authority that clients have to trust."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed")
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key, ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    return str(certificate), str(key), str(ca)


@pytest.fixture
def run_program(tmp_path):
    def run(way, program, *args, timeout=100):
        done = subprocess.run([*command(way, program, tmp_path), *args], cwd=tmp_path, env=environment(), timeout=timeout,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-6000:]
        assert done.stderr == "", done.stderr[-6000:]
        return done.stdout
    return run
