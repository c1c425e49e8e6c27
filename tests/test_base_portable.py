"""csrc/base compiles without a warning for the systems that cannot be tested here.

A cross compiler with the headers of all of them is in PyPI's `ziglang` (100 MB to download, 400 MB installed: too much for the test
extra, so it is installed where this is to be checked: pip install ziglang)."""
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "csrc" / "base").glob("*.c"))
HEADERS = sorted((ROOT / "csrc" / "base").glob("*.h"))
# Each with the poller that must be the first choice there.
TARGETS = {
    "x86_64-macos": "kqueue", "aarch64-macos": "kqueue",
    "x86_64-freebsd": "kqueue", "aarch64-freebsd": "kqueue", "x86_64-netbsd": "kqueue", "x86_64-openbsd": "kqueue",
    "x86_64-linux-musl": "epoll", "aarch64-linux-musl": "epoll", "x86-linux-musl": "epoll", "x86_64-linux-gnu.2.17": "epoll",
}

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None,
                                reason="NOT CHECKED: that csrc/base compiles for macOS, the BSDs and musl (pip install ziglang)")



def zig(target, *arguments):
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=c11", "-Wall", "-Wextra", "-Werror",
               "-I", ROOT / "csrc", *arguments]
    return subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=110)


def compile_silently(target, source, tmp_path, *flags):
    done = zig(target, *flags, "-c", source, "-o", tmp_path / "unit.o")
    assert done.returncode == 0 and done.stdout == "", f"{source} for {target}:\n{done.stdout}"
    assert (tmp_path / "unit.o").stat().st_size > 0
    (tmp_path / "unit.o").unlink()


@pytest.mark.parametrize("target", TARGETS)
def test_compiles_without_a_warning(target, tmp_path):
    for source in SOURCES:
        compile_silently(target, source, tmp_path)
    compile_silently(target, ROOT / "csrc" / "base" / "sys.c", tmp_path, "-DPA_FAULTS")


@pytest.mark.parametrize("target", ["aarch64-macos", "x86_64-freebsd", "x86_64-linux-musl"])
def test_each_header_can_be_included_first(target, tmp_path):
    for header in HEADERS:
        unit = tmp_path / f"only_{header.stem}.c"
        unit.write_text(f'#include "base/{header.name}"\nextern int not_empty;\n')
        compile_silently(target, unit, tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_first_choice_of_pollers(target, tmp_path):
    done = zig(target, "-E", "-P", ROOT / "csrc" / "base" / "poller.c", "-o", tmp_path / "poller.i")
    assert done.returncode == 0, done.stdout
    table = (tmp_path / "poller.i").read_text().split("pa_poller_backends[] = {")[1].split("}")[0]
    assert [entry.strip() for entry in table.split(",")][:2] == [f"&pa_poller_{TARGETS[target]}", "&pa_poller_poll"]


def test_a_warning_would_be_seen(tmp_path):
    (tmp_path / "bad.c").write_text("#include <sys/event.h>\nstatic void unused(void) {}\n")
    done = zig("aarch64-macos", "-c", tmp_path / "bad.c", "-o", tmp_path / "bad.o")
    assert done.returncode != 0 and "unused function" in done.stdout
