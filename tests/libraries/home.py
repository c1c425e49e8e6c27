"""Where a suite runs: its sdist and virtual environment, kept from run to run, and a network namespace of its own."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
PINS = HERE / "pins.txt"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "pyasync" / "libraries"

# What suites expect of a host: `localhost` in both families, and an address beside the loopback's.
NAMESPACE = """
ip link set lo up && ip address add 198.51.100.1/24 dev lo && mount --bind "$0" /etc/hosts && exec "$@"
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
        raise Missing(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}")
    return done.stdout


def virtual_environment(name, install, unpinned=False):
    """The Python of a virtual environment with these packages in their pinned versions, without pyasync."""
    key = hashlib.sha256("\n".join([sys.version, sys.base_prefix, *install, PINS.read_text()]).encode()).hexdigest()[:16]
    folder = CACHE / f"venv-{name}-{sys.version_info[0]}.{sys.version_info[1]}"
    python, stamp = folder / "bin" / "python", folder / "complete"
    if not stamp.exists() or stamp.read_text() != key:
        shutil.rmtree(folder, ignore_errors=True)
        call(sys.executable, "-m", "venv", folder)
        pins = [] if unpinned else ["-c", PINS]
        call(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *pins, "pytest", *install)
        stamp.write_text(key)
    return python


def sdist(name):
    """The folder of the unpacked sdist of that library, in its pinned version."""
    version = pinned(name)
    folder = CACHE / "sdists" / f"{name}-{version}"
    if not folder.exists():
        files = CACHE / "sdists" / f"{name}-{version}.files"
        shutil.rmtree(files, ignore_errors=True)
        call(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-binary", name,
             "-d", files, f"{name}=={version}")
        archive, = files.iterdir()
        with tarfile.open(archive) as tar:
            tar.extractall(files / "unpacked", filter="data")
        unpacked, = (files / "unpacked").iterdir()
        unpacked.rename(folder)
        shutil.rmtree(files)
    return folder


def importable():
    """A folder for PYTHONPATH with this checkout's pyasync and the plugin, and nothing else of the checkout."""
    folder = CACHE / "importable" / hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for target in (ROOT / "pyasync", HERE / "plugin" / "pyasync_way.py"):
        link = folder / target.name
        if not link.is_symlink():
            link.symlink_to(target)
    return folder


def namespace():
    """(what to put before a command, so that it runs in a network namespace, or nothing; why not)."""
    hosts = CACHE / "hosts"
    hosts.parent.mkdir(parents=True, exist_ok=True)
    hosts.write_text(HOSTS)
    reason = "iproute2's ip or util-linux's unshare is not installed"
    if shutil.which("ip") and shutil.which("unshare"):
        for options in (["--net", "--mount"], ["--map-root-user", "--net", "--mount"]):
            prefix = ["unshare", *options, "sh", "-c", NAMESPACE, str(hosts)]
            done = subprocess.run([*prefix, "true"], capture_output=True, text=True)
            if done.returncode == 0:
                return prefix, None
            reason = done.stderr.strip()
    return [], reason
