"""Builds pyasync._core from everything under csrc/.

Environment, for developers and CI:
  PYASYNC_WERROR=1     warnings are errors
  PYASYNC_SANITIZE=1   AddressSanitizer and UBSan (see .ci/run for how to run such a build)
  PYASYNC_FAULTS=1     system calls can be made to fail or fall short, for tests/faults
"""
import os
import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).parent
SOURCES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*.c"))
HEADERS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*") if p.suffix in (".h", ".def"))

if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
    sys.exit("pyasync needs CPython 3.11 or later")


def flag(name):
    return os.environ.get(name, "") not in ("", "0")


compile_args = ["-std=c11", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter",
                "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
link_args = []
macros = []
if flag("PYASYNC_WERROR"):
    compile_args.append("-Werror")
if flag("PYASYNC_SANITIZE"):
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    compile_args += sanitize + ["-O1", "-g", "-UNDEBUG"]
    link_args += sanitize
if flag("PYASYNC_FAULTS"):
    macros.append(("PA_FAULTS", "1"))
    compile_args.append("-O1")     # tests/faults builds it each time

setup(ext_modules=[Extension("pyasync._core", SOURCES, include_dirs=["csrc"], depends=HEADERS, define_macros=macros,
                             extra_compile_args=compile_args, extra_link_args=link_args)])
