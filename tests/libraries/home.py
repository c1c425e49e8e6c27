"""Where a suite runs: its sdist and virtual environment, kept from run to run, and a network namespace of its own."""
import atexit
import contextlib
import fcntl
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
PINS = HERE / "pins.txt"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "pyasync" / "libraries"

# What suites expect of a host: `localhost` in both families, and an address beside the loopback's. And of whom they are run by: not
# of root, who may read what nobody may.
NAMESPACE = """
ip link set lo up && ip address add 198.51.100.1/24 dev lo && mount --bind "$0" /etc/hosts &&
exec setpriv --bounding-set=-dac_override,-dac_read_search "$@"
"""
HOSTS = "127.0.0.1 localhost\n::1 localhost\n198.51.100.1 elsewhere.test\n"


class Missing(Exception):
    """Something that a suite needs could not be had."""


def pinned(name):
    for line in PINS.read_text().splitlines():
        package, equals, version = line.partition("==")
        if equals and normal(package) == normal(name):
            return version
    raise Missing(f"{PINS} has no version for {name}")


def normal(name):
    return name.lower().replace("_", "-").replace(".", "-")


def call(*command, **options):
    """Runs a tool; Missing, with what it wrote, if it fails."""
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise Missing(f"{' '.join(map(str, command))} failed:\n{done.stdout[-1500:]}")
    return done.stdout


def virtual_environment(name, install):
    """The Python of a virtual environment with these packages in their pinned versions, without pyasync."""
    key = hashlib.sha256("\n".join([sys.version, sys.base_prefix, *install, PINS.read_text()]).encode()).hexdigest()[:12]
    folder = CACHE / f"venv-{name}-{sys.version_info[0]}.{sys.version_info[1]}-{key}"
    python, complete = folder / "bin" / "python", folder / "complete"
    with locked(f"venv-{name}"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            call(sys.executable, "-m", "venv", folder)
            call(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", PINS, "pytest", *install)
            complete.touch()
    return python


@contextlib.contextmanager
def locked(name):
    """One run at a time makes what others will find."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sdist(name):
    """The folder of the unpacked sdist of that library, in its pinned version."""
    version = pinned(name)
    folder = CACHE / "sdists" / f"{name}-{version}"
    with locked(f"sdist-{name}"):
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as made:
                call(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-binary", name,
                     "-d", f"{made}/files", f"{name}=={version}")
                archive, = pathlib.Path(made, "files").iterdir()
                with tarfile.open(archive) as tar:
                    tar.extractall(f"{made}/unpacked", filter="data")
                unpacked, = pathlib.Path(made, "unpacked").iterdir()
                unpacked.rename(folder)
    return folder


@functools.cache
def snapshot():
    """A folder with pyasync as it is now: one run is about one version, whatever is built meanwhile."""
    folder = tempfile.mkdtemp(prefix="pyasync-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(ROOT / "pyasync", f"{folder}/pyasync", ignore=shutil.ignore_patterns("__pycache__"))
    return pathlib.Path(folder)


def importable(folder):
    """Makes folder, for PYTHONPATH: this checkout's pyasync and the plugin are in it, and nothing else of the checkout."""
    folder.mkdir()
    for target in (snapshot() / "pyasync", HERE / "plugin" / "pyasync_way.py"):
        (folder / target.name).symlink_to(target)


def namespace():
    """(what to put before a command, so that it runs in a network namespace, or nothing; why not)."""
    hosts = CACHE / "hosts"
    hosts.parent.mkdir(parents=True, exist_ok=True)
    hosts.write_text(HOSTS)
    reason = "iproute2's ip or util-linux's unshare or setpriv is not installed"
    if all(map(shutil.which, ("ip", "unshare", "setpriv"))):
        for options in (["--net", "--mount"], ["--map-root-user", "--net", "--mount"]):
            prefix = ["unshare", *options, "sh", "-c", NAMESPACE, str(hosts)]
            done = subprocess.run([*prefix, "true"], capture_output=True, text=True)
            if done.returncode == 0:
                return prefix, None
            reason = done.stderr.strip()
    return [], reason
