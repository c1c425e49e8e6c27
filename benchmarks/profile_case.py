"""Run one case under a profiler and print where its time goes.

    python benchmarks/profile_case.py pyasync switch                    perf: C functions, by their own share of the samples
    python benchmarks/profile_case.py pyasync aiohttp --tool py-spy     Python and C frames together, as a flame graph
    python benchmarks/profile_case.py pyasync switch --tool callgrind   instructions of each function, exact; slow

`make profile CASE=switch TOOL=perf` does the same. What a tool recorded stays in benchmarks/.build/profiles, whose name is printed.
"""
import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import compare
import harness
import loops
import native

OPERATIONS = 4000


def perf(worker, seconds, out):
    recorded = out.with_suffix(".perf")
    run(["perf", "record", "-q", "-g", "-F", "1999", "-o", recorded, *worker, "--seconds", seconds])
    for what in ("dso", "dso,symbol"):              # shares of kernel, interpreter, extension, libraries; then of functions
        run(["perf", "report", "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.5", "--sort", what,
             "--comm", Path(sys.executable).resolve().name + ",python,python3", "-i", recorded])
    return recorded, f"perf report --no-children -i {recorded}"


def py_spy(worker, seconds, out):
    recorded = out.with_suffix(".svg")
    # For each sample the process stands still while its stack is unwound: more of them and it would hardly get on.
    run(["py-spy", "record", "--native", "--rate", "100", "-o", recorded, "--", *worker, "--seconds", seconds])
    return recorded, f"open {recorded} in a browser"


def callgrind(worker, _seconds, out):
    native.counted()
    recorded = out.with_suffix(".callgrind")
    run(["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={recorded}", *worker,
         "-n", OPERATIONS, "--count"])
    run(["callgrind_annotate", "--threshold=90", recorded])
    return recorded, f"callgrind_annotate --inclusive=yes {recorded}, or kcachegrind"


TOOLS = {"perf": perf, "py-spy": py_spy, "callgrind": callgrind}
PACKAGES = {"perf": "linux-perf", "py-spy": "pip install py-spy", "callgrind": "valgrind"}


def run(command):
    subprocess.run([str(word) for word in command], check=True, env=compare.environment())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("column", choices=[*loops.COLUMNS])
    parser.add_argument("case")
    parser.add_argument("--tool", choices=TOOLS, default="perf")
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    compare.choose_cases([args.case], {})
    case = harness.CASES.get(args.case)
    if case is None:
        parser.error(f"{args.case} is a topic, a profile is of one case")
    if case.times_itself and args.tool == "callgrind":
        parser.error(f"{args.case} needs a client or a clock, callgrind cannot count it; try pingpong_1k")
    if shutil.which({"callgrind": "valgrind"}.get(args.tool, args.tool)) is None:
        raise SystemExit(f"{args.tool} is not installed ({PACKAGES[args.tool]})")
    folder = native.BUILD / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    worker = [sys.executable, compare.HERE / "worker.py", args.column, args.case, "--topic", case.topic]
    recorded, hint = TOOLS[args.tool](worker, args.seconds, folder / f"{args.column}-{args.case}")
    print(f"\nrecorded in {recorded}; {hint}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} ended with status {error.returncode}")
