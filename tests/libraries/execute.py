"""Runs a suite by one way, with as many processes as it takes: a crash or a hang costs the one test that it happened in."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import home
from suites import Program

sys.path.append(str(home.HERE.parent))
import renaming  # noqa: E402: it is in the folder above

WAYS = ("asyncio", "loop", "install", "import")
PYTEST = {
    "asyncio": ["-m", "pytest"],
    "loop": ["-m", "pytest"],                       # the plugin does it
    "install": ["-m", "pyasync", "-m", "pytest"],
    "import": ["-m", "pytest"],                     # of edited copies
}


class Run:
    """What came of it. tests: {test: {outcome, text, loops}}; loops: how many of each kind were made in all."""

    def __init__(self):
        self.tests, self.loops, self.children, self.trouble = {}, dict.fromkeys(("pyasync", "asyncio", "other"), 0), 0, []
        self.seconds = 0.0

    def add_loops(self, loops):
        for kind, n in loops.items():
            self.loops[kind] += n


def workplace(suite, folder):
    """Where the tests run, and what of them pytest is to collect. Copies what the tests of a suite need to folder."""
    if isinstance(suite, Program):
        return home.ROOT, [suite.file]
    if suite.copied:
        source = home.sdist(suite.name)
        for name in suite.copied:
            if (source / name).is_dir():
                shutil.copytree(source / name, folder / name)
            else:
                shutil.copy(source / name, folder / name)
    else:
        (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in suite.files.items():
        (folder / name).write_text(text)
    return folder, [] if "--pyargs" in suite.arguments else suite.copied[:1]


def edit(suite, python, place, importable):
    """Lets the tests, and copies of the suite's packages, say `import pyasync as asyncio`."""
    site, = python.parent.parent.glob("lib/python*/site-packages")
    for package in suite.packages:
        shutil.copytree(site / package, importable / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*place.rglob("*.py"), *(path for package in suite.packages for path in (importable / package).rglob("*.py"))]:
        renaming.rename_in_file(path)


def run(suite, way, python, prefix, *, chosen=(), timeout=300):
    """Runs the suite, or the chosen tests (node ids) of it."""
    result, begin = Run(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"{suite.name}-{way}-") as folder:
        folder = pathlib.Path(folder)
        place = folder / "place"
        place.mkdir()
        place, collected = workplace(suite, place)
        home.importable(folder / "importable")
        if way == "import":
            edit(suite, python, place, folder / "importable")
        while True:
            before = len(result.tests)
            finished, current, output = _process(suite, way, python, prefix, folder, place, result, collected, chosen, timeout)
            if finished:
                if len(result.tests) == before == 0:
                    result.trouble.append(f"no test was run\n{output[-3000:]}")
                break
            if current is not None:
                result.tests[identity(current)] = {"outcome": "failed", "node": current, "loops": None,
                                                   "text": f"the process crashed or hung\n{output[-6000:]}"}
            else:
                result.trouble.append(f"the process ended outside of the tests\n{output[-6000:]}")
                if len(result.tests) == before:
                    break
    result.seconds = time.monotonic() - begin
    return result


def _process(suite, way, python, prefix, folder, place, result, collected, chosen, timeout):
    """One process. Returns whether it came to its end, the test it was in when it did not, and its output."""
    record, done, only, output_path = (folder / name for name in ("record", "done", "only", "output"))
    record.write_text("")
    done.write_text("".join(json.dumps(test["node"]) + "\n" for test in result.tests.values()))
    only.write_text("".join(json.dumps(node) + "\n" for node in chosen))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONWARNINGS", "VIRTUAL_ENV"))}
    env |= {"PYTHONPATH": str(folder / "importable"), "PYTEST_PLUGINS": "pyasync_way", "PYASYNC_WAY": way, "PYASYNC_RECORD": str(record),
            "PYASYNC_DONE": str(done), "PYASYNC_ONLY": str(only), "PATH": f"{python.parent}{os.pathsep}{env['PATH']}", **suite.environment}
    env.pop("PYASYNC_OWNER", None)
    command = [*prefix, python, *PYTEST[way], "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors",
               *suite.arguments, *collected]
    with open(output_path, "wb") as output:
        process = subprocess.Popen(list(map(str, command)), env=env, cwd=place, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, start_new_session=True)
        try:
            hung = not _wait(process, record, timeout)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)              # what the tests started and left
            except ProcessLookupError:
                pass
            process.wait()
    current, finished = _read(record, result)
    text = output_path.read_text(errors="replace")
    if hung:
        text += f"\nnothing happened for {timeout} s"
    return finished and not hung, current, text


def _wait(process, record, timeout):
    """Waits for the end; False if nothing is recorded for that many seconds. SIGABRT makes faulthandler say where it hangs."""
    size, since = -1, time.monotonic()
    while process.poll() is None:
        if (now := record.stat().st_size) != size:
            size, since = now, time.monotonic()
        if time.monotonic() - since > timeout:
            os.killpg(process.pid, signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            return False
        time.sleep(0.1)
    return True


def _read(record, result):
    current, finished, total = None, False, {}
    for line in record.read_text().splitlines():
        entry = json.loads(line)
        if entry["event"] == "start":
            current = entry["test"]
        elif entry["event"] == "end":
            current = None
            result.tests[identity(entry["test"])] = {"outcome": entry["outcome"], "node": entry["test"], "text": entry["text"],
                                                     "loops": entry["loops"]}
            total = entry["total"] or total
        elif entry["event"] == "child":
            result.children += 1
            result.add_loops(entry["loops"])
        else:
            finished, total = True, entry["loops"]
    result.add_loops(total)
    return current, finished


def identity(node):
    """The node id without what differs from process to process."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x", node)
