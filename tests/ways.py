"""The ways into pyasync, for programs that know only asyncio: what a program runs on is decided by how it is started."""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

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


class Programs:
    """The programs of a folder. Each has `async def main(*arguments)` and `def report(result)`, which prints."""

    def __init__(self, folder):
        self.HERE = Path(folder)

    def command(self, way, program, folder):
        """How to start that program by that way; folder is a place for an edited copy."""
        file = self.HERE / f"{program}.py"
        if way == "asyncio":
            return [sys.executable, str(file)]
        if way == "import as asyncio":
            edited, n = re.subn(r"^import asyncio$", "import pyasync as asyncio", file.read_text(), flags=re.M)
            assert n == 1
            copy = folder / f"{program}.py"
            copy.write_text(edited)
            return [sys.executable, str(copy)]
        if way == "python -m pyasync":
            return [sys.executable, "-m", "pyasync", str(file)]
        return [sys.executable, "-c", {"Runner(loop_factory)": RUNNER, "policy": POLICY, "install()": INSTALL}[way], program]

    def environment(self):
        """Warnings shown, and this checkout's pyasync and these programs importable."""
        path = [str(ROOT), str(self.HERE), os.environ.get("PYTHONPATH", "")]
        return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONWARNINGS": "default::ResourceWarning"}

    def run(self, way, program, *args, cwd, timeout=100):
        """What the program printed. It has to end well and to write nothing to stderr."""
        done = subprocess.run([*self.command(way, program, cwd), *args], cwd=cwd, env=self.environment(), timeout=timeout,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-6000:]
        assert done.stderr == "", done.stderr[-6000:]
        return done.stdout


def check_kind(way, classes):
    """classes: names of a class and its bases, innermost first, as the program itself reported them."""
    if way.startswith("asyncio"):
        assert not any(name.startswith("pyasync") for name in classes), classes
    else:
        assert any(name.startswith(("pyasync._core.", "pyasync.Task")) for name in classes), classes
