"""python tests/compatibility.py: measures what stands in the tables of docs/compatibility.md and writes them. Also `make compatibility`.

tests/stdlib in every mode and tests/libraries with every suite and program, on each CPython of measured.VERSIONS that is found: on this
machine, or in the Debian unstable folder of `.ci/run`. Each Python gets a clone of the commit that is checked out, in which pyasync is
built: the checkout may move on meanwhile. It takes many hours of processor time. What it has measured of a commit it does not measure
again, so it can be stopped and started; and --document writes what there is so far.

All is kept in the folder --results: clones, logs, and the results in stdlib/ and libraries/, a file for each row of the tables.
"""
import argparse
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import measured

ROOT = measured.ROOT
HERE = ROOT / "tests"
sys.path.insert(0, str(HERE / "libraries"))
import home as libraries_home  # noqa: E402: they are in tests/libraries
import suites  # noqa: E402
del sys.path[0]

UNSTABLE_ROOT = ROOT.parent / "shared" / "bin" / "unstable-root"
PACKAGES = {"ip": "iproute2", "redis-server": "redis-server", "pg_ctlcluster": "postgresql"}    # what the libraries' tests start
SOURCE_ONLY = ("forbiddenfruit",)                # of Python alone, but published as source only
# In the order in which their rows are wanted: the slow ones last.
SLOW = ("starlette", "pyzmq", "tornado", "aiohttp", "pytest-asyncio")
NOT_RUN = 77


class Missing(Exception):
    """A Python, or something for it, could not be had."""


def call(*command, **options):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **options)
    if done.returncode:
        raise Missing(f"{' '.join(map(str, command))[:300]} failed:\n{done.stdout[-1500:]}")
    return done.stdout.strip()


class Machine:
    """A CPython of this machine. Commands run in the folder of its clone; `results` is what they call the folder --results."""

    def __init__(self, version, python, results):
        self.version, self.python, self.folder = version, python, results / f"src-{version}"
        self.results, self.environment = results, {}

    def command(self, *command):
        return [*(f"{name}={value}" for name, value in self.environment.items()), *map(str, command)]

    def run(self, *command, **options):
        return subprocess.Popen(["env", *self.command(*command)], cwd=self.folder, stdin=subprocess.DEVNULL, start_new_session=True,
                                **options)

    def call(self, *command):
        return call("env", *self.command(*command), cwd=self.folder)

    def prepare(self, commit):
        if not self.folder.exists():
            call("git", "clone", "-q", "--no-checkout", ROOT, self.folder)
        call("git", "-C", self.folder, "fetch", "-q", ROOT, commit)
        call("git", "-C", self.folder, "checkout", "-q", "--detach", commit)
        self.call(self.python, "-m", "venv", ".venv")
        self.call(".venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "setuptools")
        self.call(".venv/bin/python", "setup.py", "-q", "build_ext", "--inplace", "--force")


class Unstable(Machine):
    """One in the unstable folder, which has no network: what pip is to install there is fetched here."""

    def __init__(self, version, results, folder):
        super().__init__(version, f"python{version}", results)
        self.outside, self.results, self.home = results, pathlib.Path("/wheels"), folder
        self.environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"/wheels/wheels-{version}", "XDG_CACHE_HOME": "/wheels/cache",
                            "PIP_ROOT_USER_ACTION": "ignore"}

    def command(self, *command):
        # Bound onto itself, so that the root in there is a mount point: tests/libraries makes namespaces, and unshare insists on it.
        enter = f'mount --bind "$0" "$0" && exec {UNSTABLE_ROOT} run "$0" {self.folder} "$@"'
        return [f"WHEELS={self.outside}", "unshare", "-m", "sh", "-c", enter, str(self.home), "env", *super().command(*command)]

    def prepare(self, commit):
        self.fetch()
        super().prepare(commit)
        if missing := [package for program, package in PACKAGES.items() if not (self.home / "usr/bin" / program).exists()]:
            self.call("sh", "-ec", "apt-get update -qq; apt-get install -y -qq --no-install-recommends \"$@\"", "sh", *missing)

    def fetch(self):
        """Wheels, and the sdists of the suites. What cannot be had is said by the suite that then cannot be run."""
        wheels = self.outside / f"wheels-{self.version}"
        pip, pins = (sys.executable, "-m", "pip"), HERE / "libraries" / "pins.txt"
        options = ("-q", "--disable-pip-version-check", "-c", pins)
        call(*pip, "wheel", *options, "--no-deps", "-w", wheels, *SOURCE_ONLY)
        options += ("--python-version", self.version, "--only-binary", ":all:", "--find-links", wheels, "-d", wheels)
        wanted = {"setuptools", "pytest", "pytest-timeout", "trustme"}.union(*(entry.install for entry in suites.BY_NAME.values()))
        for name in sorted(wanted):
            # pip looks at markers with the eyes of the Python that runs it, and an extra may ask for what only older ones need.
            for requirement in dict.fromkeys((name, re.sub(r"\[.*\]", "", name))):
                try:
                    call(*pip, "download", *options, requirement)
                    break
                except Missing as error:
                    print(f"!!!! {self.version}: {error}", flush=True)
        for suite in suites.SUITES:
            if suite.copied:
                source = libraries_home.sdist(suite.name)
                shutil.copytree(source, self.outside / "cache/pyasync/libraries/sdists" / source.name, dirs_exist_ok=True)


def find(version, results):
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    of_system = (pathlib.Path(folder, f"python{version}") for folder in ("/usr/bin", "/usr/local/bin"))
    for path in (*sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")), *of_system):
        if path.exists():
            return Machine(version, path, results)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = pathlib.Path(os.environ.get("PYASYNC_UNSTABLE") or cache / "pyasync" / "unstable")
    if (folder / f"usr/bin/python{version}").exists() and UNSTABLE_ROOT.exists():
        return Unstable(version, results, folder)
    raise Missing(f"no CPython {version} on this machine, nor the folder that .ci/run makes")


def rows(versions, kinds):
    """What there is to measure: (stdlib's, libraries'), each [(version, mode or name)], in the order it is wanted."""
    names = [name for name in suites.BY_NAME if name not in SLOW]
    stdlib = [(version, mode) for mode in measured.MODES for version in versions]
    libraries = [(version, name) for version in versions for name in names] + [(version, name) for name in SLOW for version in versions]
    return stdlib if "stdlib" in kinds else [], libraries if "libraries" in kinds else []


def path_of(results, kind, version, what):
    return results / kind / (f"{version}-{what}.json" if kind == "stdlib" else f"{what}-{version}.json")


def is_measured(path, commit):
    """Whether it is a result of that commit. One of another is none: rows of several are not mixed here."""
    if not path.exists():
        return False
    if json.loads(path.read_text())["commit"] == commit:
        return True
    path.unlink()
    return False


class Measuring:
    """Lanes that take rows one by one. One of them takes the libraries' first: two at a time would disturb one another."""

    def __init__(self, homes, results):
        self.homes, self.results = homes, results
        self.queues = {"libraries": queue.SimpleQueue(), "stdlib": queue.SimpleQueue()}
        self.running, self.stopped, self.statuses, self.lock = set(), False, [], threading.Lock()

    def lane(self, kinds):
        for kind in kinds:
            while not self.stopped:
                try:
                    version, what = self.queues[kind].get_nowait()
                except queue.Empty:
                    break
                self.measure(kind, version, what)

    def measure(self, kind, version, what):
        home, begin = self.homes[version], time.monotonic()
        log = pathlib.PurePath("logs", f"{kind}-{version}-{what}")
        chosen = ("--mode", what) if kind == "stdlib" else (what,)
        with open(self.results / f"{log}.out", "w") as output:
            process = home.run(".venv/bin/python", f"tests/{kind}", "--save", home.results / kind,
                               "--log", home.results / f"{log}.failures", *chosen, stdout=output, stderr=output)
            self.running.add(process)
            status = process.wait()
            self.running.discard(process)
        with self.lock:
            self.statuses.append(status)
            print(f"{version} {kind} {what}: {'ok' if status == 0 else 'NOT RUN' if status == NOT_RUN else f'FAILED, see {log}.*'}"
                  f"  {time.monotonic() - begin:.0f} s", flush=True)

    def stop(self):
        self.stopped = True
        for process in list(self.running):
            process.terminate()                  # it takes along what it has started


def worst(statuses):
    return 1 if any(status not in (0, NOT_RUN) for status in statuses) else NOT_RUN if NOT_RUN in statuses else 0


def measure(options, results):
    homes, statuses = {}, []
    commit = call("git", "-C", ROOT, "rev-parse", "HEAD")
    for version in options.python:
        try:
            homes[version] = find(version, results)
            homes[version].prepare(commit)
        except Missing as error:
            homes.pop(version, None)
            statuses.append(NOT_RUN)
            print(f"!!!! {version} is NOT RUN: {error}", flush=True)
    measuring, stamp = Measuring(homes, results), measured.commit()
    for kind, wanted in zip(("stdlib", "libraries"), rows(list(homes), options.what)):
        for version, what in wanted:
            if not is_measured(path_of(results, kind, version, what), stamp):
                measuring.queues[kind].put((version, what))
    kinds = [("libraries", "stdlib"), *[("stdlib",)] * (options.jobs - 1)]
    lanes = [threading.Thread(target=measuring.lane, args=(of_lane,)) for of_lane in kinds]
    for lane in lanes:
        lane.start()
    try:
        for lane in lanes:
            lane.join()
    except KeyboardInterrupt:
        measuring.stop()
        raise
    return worst(statuses + measuring.statuses)


def write(results):
    for kind in ("stdlib", "libraries"):
        if any((results / kind).glob("*.json")):
            subprocess.run([sys.executable, HERE / kind, "--document", results / kind], check=True)


def main():
    parser = argparse.ArgumentParser(prog="python tests/compatibility.py", description="Measures all of docs/compatibility.md's tables.")
    parser.add_argument("what", nargs="*", help="stdlib, libraries; default: both")
    parser.add_argument("--python", choices=measured.VERSIONS, action="append", help="default: all")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "build" / "results" / "compatibility", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=2, help="how many rows are measured at a time (%(default)s)")
    parser.add_argument("--document", action="store_true", help="measure nothing: write what there is")
    options = parser.parse_args()
    options.what, options.python = options.what or ["stdlib", "libraries"], options.python or list(measured.VERSIONS)
    if unknown := set(options.what) - {"stdlib", "libraries"}:
        parser.error(f"unknown: {', '.join(unknown)}")
    signal.signal(signal.SIGINT, signal.default_int_handler)     # not ignored, as in a shell's background job
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = options.results.resolve()
    for name in ("stdlib", "libraries", "logs", "cache"):
        (results / name).mkdir(parents=True, exist_ok=True)
    status = 0 if options.document else measure(options, results)
    write(results)
    return status


if __name__ == "__main__":
    sys.exit(main())
