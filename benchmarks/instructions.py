"""How many instructions one operation takes, counted under valgrind: the same on a busy machine as on a quiet one.

    python benchmarks/instructions.py switch create_await --loops asyncio,pyasync    a table
    python benchmarks/instructions.py --check     the guard: status 1, and names, if an operation takes more than it did
    python benchmarks/instructions.py --update    write what it takes now into instructions.toml

Not a speed: memory and branches cost time that no count shows. But a change that adds five per cent shows, and repeating
the count gives the same number to the last digit. Each case runs in a process of its own, warmed up, and is counted between two marks
inside it (c/counted.c). Counted is user mode only: a system call is one instruction.

instructions.toml keeps, for each CPython version, all instructions of an operation and those among them in pyasync's own extension. The
first depend on how the interpreter was compiled, so they are held against the file only where the build is the one it was
written with and has no JIT; elsewhere only the second are, on another build more loosely. docs/performance.md says where the tolerances come from.
"""
import argparse
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import compare
import harness
import loops
import machine
import native

COUNTS = compare.HERE / "instructions.toml"
#: What the guard watches.
GUARDED = """
    switch switch_alone create_await create_many create_cancel future_pingpong future_callback call_soon_chain call_soon_burst
    threadsafe_chain threadsafe_own timer_cancel timer_cancel_held timer_fire lock_uncontended lock_contended semaphore_contended
    event_pingpong condition_pingpong queue queue_one gather_1000 gather_3 wait_100 wait_for timeout shield task_group_100 readline
    pingpong_1k pingpong_udp_1k pingpong_stream_1k pingpong_sock_1k
""".split()
OPERATIONS = 4000
#: How much more than the file says is taken as no change: of all instructions, of the extension's own, and of those on another build.
ALL, OWN, OTHER_BUILD = 0.05, 0.02, 0.20


def self_costs(lines):
    """Instructions by object file, from the lines of a callgrind output file."""
    costs, names, current, skip = {}, {}, None, False
    for line in lines:
        if line.startswith(("ob=", "cob=")):    # a name is spelled out once, afterwards its number stands for it
            number, _, name = line.partition("=")[2].strip().partition(" ")
            name = names.setdefault(number, name)
            current = name if line.startswith("ob=") else current
        elif line.startswith("calls="):
            skip = True                         # the next line is what the callee took
        elif line[:1].isdigit() or line[:1] in "+-*":
            if not skip:
                costs[current] = costs.get(current, 0) + int(line.split()[1])
            skip = False
    return costs


def count(column, case, n=OPERATIONS):
    """(all, in pyasync's extension) instructions of one operation."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "out")
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", sys.executable,
                   str(compare.HERE / "worker.py"), column, case.name, "--topic", case.topic, "-n", str(n), "--count"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300,
                             env=compare.environment() | {"PYTHONHASHSEED": "0", "LD_BIND_NOW": "1"})
        found = re.search(r'"operations": (\d+)', run.stdout)
        if run.returncode or not found:
            raise RuntimeError(f"{case.name} on {column}: {compare.last_words(run.stderr)}")
        with out.open() as lines:
            costs = self_costs(lines)
    operations = int(found[1])
    own = sum(cost for name, cost in costs.items() if re.search(r"/pyasync/_core\.[^/]*$", name))
    return sum(costs.values()) / operations, own / operations


def in_parallel(function, things):
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(function, things)


def show(cases, columns):
    print(f"{'instructions per operation':28}" + "".join(f"{column:>14}" for column in columns))
    results = in_parallel(lambda pair: count(*pair)[0], [(column, case) for case in cases for column in columns])
    for case in cases:
        print(f"{case.name:28}", end="", flush=True)
        for _ in columns:
            print(f"{next(results):14,.0f}", end="", flush=True)
        print(flush=True)


def build():
    """What decides how many instructions the interpreter itself takes for the same work."""
    version = subprocess.run([*native.compiler(), "-dumpfullversion"], capture_output=True, text=True).stdout.strip()
    return {"python": f"{platform.python_version()}, {machine.python_build()}", "compiler": f"{Path(native.compiler()[0]).name} {version}",
            "machine": platform.machine()}


def version():
    return f"{sys.version_info[0]}.{sys.version_info[1]}" + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")


def as_toml(known):
    lines = ["# Instructions of one operation, written by `python benchmarks/instructions.py --update`: all of them, and those in",
             "# pyasync's own extension. `--check` holds what it counts against this."]
    for name, section in sorted(known.items()):
        lines += ["", f'["{name}"]', *(f'{key} = "{section[key]}"' for key in ("python", "compiler", "machine")), f'["{name}".counts]']
        lines += [f"{case} = {{all = {counts['all']}, own = {counts['own']}}}" for case, counts in section["counts"].items()]
    return "\n".join(lines) + "\n"


def judge(counted, wanted, same_build, jit=False):
    """What got worse and what got better: two lists of text."""
    worse, better = [], []
    kinds = {"own": ("instructions in the extension", OWN if same_build else OTHER_BUILD)}
    if same_build and not jit:                  # what is compiled when differs from run to run, by a tenth of all instructions
        kinds["all"] = "instructions", ALL
    for name, counts in counted.items():
        if name not in wanted:
            worse.append(f"{name}: not in {COUNTS.name}; run --update")
            continue
        for kind, (words, tolerance) in kinds.items():
            before, now = wanted[name][kind], counts[kind]
            line = f"{name}: {now:,} {words}, were {before:,} ({now / max(before, 1) - 1:+.1%})"
            if now > before * (1 + tolerance) + 10:
                worse.append(line)
            elif now < before * (1 - tolerance) - 10:
                better.append(line)
    worse += [f"{name}: was not counted" for name in wanted.keys() - counted.keys()]
    return worse, better


def guard(update):
    known = tomllib.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    cases = [harness.CASES[name] for name in GUARDED]
    counted = {}
    for case, (total, own) in zip(cases, in_parallel(lambda case: count("pyasync", case), cases)):
        counted[case.name] = {"all": round(total), "own": round(own)}
        print(f"{case.name:24}{total:10,.0f} {own:10,.0f} in the extension", flush=True)
    if update:
        COUNTS.write_text(as_toml(known | {version(): build() | {"counts": counted}}))
        print(f"{COUNTS.name}: {len(counted)} operations for CPython {version()}")
        return 0
    if version() not in known:
        print(f"FAILED {COUNTS.name} has no counts for CPython {version()}; write them with --update", file=sys.stderr)
        return 1
    wanted = known[version()]
    differs = [f"{key} {value}, not {wanted[key]}" for key, value in build().items() if wanted[key] != value]
    if differs:
        print(f"Only the extension's own instructions are compared, within {OTHER_BUILD:.0%}: here is {'; '.join(differs)}")
    worse, better = judge(counted, wanted["counts"], not differs, "JIT" in wanted["python"])
    for line in better:
        print(f"better: {line}; keep it with --update")
    for line in worse:
        print(f"FAILED {line}", file=sys.stderr)
    if not worse:
        print(f"{len(counted)} operations take no more instructions than {COUNTS.name} says")
    return 1 if worse else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE",
                        help="cases or topics; those that need a load client or seconds cannot be counted")
    parser.add_argument("--loops", default="asyncio,pyasync", help=f"comma-separated, of {', '.join(loops.COLUMNS)}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help=f"compare the guarded operations to {COUNTS.name}")
    what.add_argument("--update", action="store_true", help=f"write {COUNTS.name} for this CPython version")
    args = parser.parse_args()
    if (args.check or args.update) == bool(args.cases):
        parser.error("either cases, or --check, or --update")
    cases = [case for case in compare.choose_cases(args.cases, {}) if not case.times_itself]
    probe, error = compare.run_worker("pyasync", "--probe")
    if error:
        raise SystemExit(f"pyasync does not run: {error}")
    if probe["asserts"] and not args.cases:
        raise SystemExit("pyasync's extension was compiled with assertions (CFLAGS without -DNDEBUG?); the file is about ordinary builds")
    native.counted()                            # built once, before the processes that count use it at the same time
    if not args.cases:
        return guard(args.update)
    if not cases:
        parser.error("none of these cases can be counted")
    show(cases, args.loops.split(","))
    return 0


if __name__ == "__main__":
    sys.exit(main())
