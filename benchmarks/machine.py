"""What a reader needs to judge a number: machine, versions, how busy it was."""
import importlib.util
import os
import platform
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def cpu_model():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit():
    """The state of the source tree the benchmarks are in, or None outside one."""
    try:
        run = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    except OSError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def python_build():
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    parts = [word for flag, word in (("--enable-optimizations", "PGO"), ("--with-lto", "LTO"), ("--with-pydebug", "debug"),
                                     ("--disable-gil", "no GIL"), ("--enable-experimental-jit", "JIT")) if flag in arguments]
    return f"{platform.python_compiler()}, {' '.join(parts) or 'no PGO, no LTO'}"


def extension_asserts():
    """Whether pyasync's extension, which can be imported here, was compiled with assertions."""
    return b"__assert_fail" in Path(importlib.util.find_spec("pyasync._core").origin).read_bytes()


def load():
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def describe():
    return {
        "cpu_model_name": cpu_model(),
        "cpu_count": os.cpu_count() or 0,
        "platform": platform.platform(),
        "python_version": platform.python_version(),
        "python_build": python_build(),
        "commit": commit() or "unknown",
        "load_avg_1min": load(),
    }
