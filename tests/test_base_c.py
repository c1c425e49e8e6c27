"""The C tests of csrc/base (tests/c), compiled on the spot and run: plainly, with system calls made to fail, and with the
substitutes that systems without accept4, pipe2 and ppoll use. AddressSanitizer and UBSan watch wherever the compiler has them."""
import os
import re
import shutil
import subprocess
import sysconfig
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = sorted((ROOT / "csrc" / "base").glob("*.c"))
PROGRAMS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
CC = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "csrc")]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
VARIANTS = {"plain": [], "faults": ["-DPA_FAULTS"], "emulated": ["-DPA_FAULTS", "-DPA_SYS_EMULATE"]}
CASES = [(variant, program.stem) for variant in VARIANTS for program in PROGRAMS
         if variant != "plain" or program.stem != "test_faults"]

pytestmark = pytest.mark.skipif(shutil.which(CC[0]) is None, reason=f"no C compiler ({CC[0]}): csrc/base is not tested by itself")


def run(command, timeout=60):
    # A sanitizer preloaded for a sanitized extension is not ours, nor are its options.
    env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")}
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                          timeout=timeout)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="session")
def sanitizers(tmp_path_factory):
    where = tmp_path_factory.mktemp("probe")
    (where / "probe.c").write_text("int main(void) { return 0; }\n")
    try:
        run([*CC, *SANITIZE, where / "probe.c", "-o", where / "probe"])
        run([where / "probe"])
    except AssertionError as error:
        warnings.warn(f"csrc/base is tested without AddressSanitizer and UBSan, which this compiler lacks: {error}")
        return []
    return SANITIZE


@pytest.fixture(scope="session")
def library(tmp_path_factory, sanitizers):
    """Gives a variant's object files of csrc/base, compiled once."""
    made = {}

    def get(variant):
        if variant not in made:
            where = tmp_path_factory.mktemp(variant)
            for source in BASE:
                run([*CC, *WARNINGS, *sanitizers, *VARIANTS[variant], "-O1", "-g", "-c", source, "-o", where / f"{source.stem}.o"])
            made[variant] = [where / f"{source.stem}.o" for source in BASE]
        return made[variant]

    return get


@pytest.mark.parametrize("variant, program", CASES, ids=[f"{program[5:]}-{variant}" for variant, program in CASES])
def test_program(variant, program, library, sanitizers, tmp_path):
    run([*CC, *WARNINGS, *sanitizers, *VARIANTS[variant], "-O1", "-g", "-pthread", ROOT / "tests" / "c" / f"{program}.c",
         *library(variant), "-lm", "-o", tmp_path / program])
    printed = run([tmp_path / program])
    assert re.fullmatch(r"(\w+\n)+", printed), printed  # the names of the cases, and no warning of a sanitizer


def test_a_failing_check_fails_the_program(tmp_path):
    (tmp_path / "t.c").write_text('#include "check.h"\nCASE(good) { CHECK(1); }\nCASE(bad) { CHECK_INT(1 + 1, 3); }\n')
    run([*CC, *WARNINGS, "-I", ROOT / "tests" / "c", tmp_path / "t.c", "-o", tmp_path / "t"])
    assert run([tmp_path / "t", "good"]) == "good\n"
    for argument, complaint in (("bad", "1 + 1 is 2, not 3"), ("ugly", "no such case")):
        with pytest.raises(AssertionError, match=re.escape(complaint)):
            run([tmp_path / "t", argument])


@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm to look into the object file with")
def test_nothing_of_the_faults_is_left_without_them(tmp_path):
    source = ROOT / "csrc" / "base" / "sys.c"
    symbols = {}
    for variant in ("plain", "faults"):
        run([*CC, *WARNINGS, *VARIANTS[variant], "-O3", "-c", source, "-o", tmp_path / f"{variant}.o"])
        symbols[variant] = re.findall(r"^[0-9a-f]* +([A-Za-z]) (\w+)", run(["nm", tmp_path / f"{variant}.o"]), re.M)
    assert any("fault" in name for _, name in symbols["faults"])
    assert not [name for _, name in symbols["plain"] if "fault" in name or "malloc" in name]
    assert not [name for kind, name in symbols["plain"] if kind in "bBdDC"]  # and no state
