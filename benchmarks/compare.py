"""Measure event loops against each other.

    python benchmarks/compare.py                     everything, on every loop that is installed; takes minutes
    python benchmarks/compare.py tasks echo --quick  two topics, a first impression
    python benchmarks/compare.py --check             the project's targets; status 1 and their names if some are missed

Every measurement is a process of its own: one loop, one case, warmed up, then timed. Rounds are interleaved (each loop
once a round, beginning with another one each time), so that a machine that gets slower gets slower for all of them.
Where there are two processors or more, the measured process keeps to one and its load client to another. Printed are
medians with half the interquartile range, in wall-clock time; what loses is printed like what wins.
"""
import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import harness
import loops
import machine
import native
import plots
import report
from worker import harness_topics

HERE = Path(__file__).resolve().parent


def add_measuring_arguments(parser, rounds=None, quick_rounds=None):
    """The options of every command that measures; complete() makes them one. Without `rounds`, their number is the command's affair."""
    parser.add_argument("--loops", help=f"comma-separated, of {', '.join(loops.COLUMNS)}; default: those installed, without pyasync-loop")
    parser.add_argument("--rounds", type=int, help="processes per loop and case" + (f" (default {rounds}, with --quick {quick_rounds})" if rounds else ""))
    parser.add_argument("--quick", action="store_true", help="short bodies, few rounds: for a first impression only")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall",
                        help="cpu: the table in CPU time of the measured process, for a machine that has other things to do")
    parser.add_argument("--no-pin", action="store_true", help="leave the choice of processors to the system")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write JSON in pyperf's format, Markdown and SVG pictures there")
    parser.set_defaults(default_rounds=(rounds, quick_rounds))


def complete(args):
    args.rounds = args.rounds or args.default_rounds[args.quick]
    args.seconds = harness.QUICK_BODY_SECONDS if args.quick else harness.BODY_SECONDS
    return args


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", metavar="TOPIC",
                        help=f"of {', '.join(harness_topics())}, or names of cases; default: all but scaling")
    add_measuring_arguments(parser, rounds=7, quick_rounds=3)
    parser.add_argument("--check", nargs="*", metavar="SET", help="compare to the targets in targets.toml (default set: core)")
    return complete(parser.parse_args())


def choose_cases(names, targets):
    """The cases asked for, in the order of the files."""
    for topic in harness_topics():
        importlib.import_module(f"bench_{topic}")
    cases = list(harness.CASES.values())
    known = {c.name for c in cases} | {c.topic for c in cases}
    if wrong := [n for n in [*names, *targets] if n not in known]:
        raise SystemExit(f"there is no topic or case {', '.join(wrong)}")
    names = names or list(targets)
    return [c for c in cases if (c.name in names or c.topic in names if names else c.by_default)]


def environment():
    """The user's own, without what would make one loop slower than a user sees it; the source tree comes last in the path,
    so that an extension built in place is found and an installed one preferred."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONTRACEMALLOC")}
    env["PYTHONPATH"] = os.pathsep.join(p for p in (env.get("PYTHONPATH"), str(HERE.parent)) if p)
    return env


def last_words(stderr):
    """What a process that failed said about it: its last exception, or else its last line."""
    lines = stderr.strip().splitlines()
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit|Interrupt)\b", line)]
    return (raised or lines or ["no output"])[-1]


def run_worker(*arguments, timeout=120):
    """Output of one worker as (dict, None), or (None, what went wrong)."""
    try:
        run = subprocess.run([sys.executable, str(HERE / "worker.py"), *map(str, arguments)], capture_output=True, text=True,
                             timeout=timeout, env=environment())
    except subprocess.TimeoutExpired:
        return None, f"no result in {timeout} s"
    if run.returncode:
        return None, f"{last_words(run.stderr)} (status {run.returncode})"
    return json.loads(run.stdout.splitlines()[-1]), None


def choose_columns(asked):
    """The columns that work here, each tried in a process of its own: {name: version}."""
    wanted = asked.split(",") if asked else loops.DEFAULT
    if wrong := [name for name in wanted if name not in loops.COLUMNS]:
        raise SystemExit(f"there is no loop {', '.join(wrong)}; there are {', '.join(loops.COLUMNS)}")
    usable = {}
    for name in wanted:
        probe, error = run_worker(name, "--probe")
        if probe:
            usable[name] = probe["version"]
            if probe["asserts"]:
                print(f"{name}: the extension was compiled with assertions (CFLAGS without -DNDEBUG?), IT IS SLOWER THAN ITS USERS'",
                      file=sys.stderr)
        elif asked:
            raise SystemExit(f"{name} cannot be measured: {error}")
        elif "ModuleNotFoundError" not in error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    if not usable:
        raise SystemExit("no loop works here")
    return usable


def processors(no_pin):
    """(processor of the measured process, of its client), -1 for any."""
    if no_pin or not hasattr(os, "sched_getaffinity"):
        return -1, -1
    available = sorted(os.sched_getaffinity(0))
    return (available[-1], available[0]) if len(available) > 1 else (-1, -1)


class Progress:
    """Says on stderr what is being measured and how long it will take: in place on a terminal, a line a round and case elsewhere."""

    def __init__(self, total):
        self.total, self.done, self.began = total, 0, time.monotonic()

    def step(self, words, last_of_case):
        self.done += 1
        left = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        line = f"[{self.done}/{self.total}, {int(left) // 60}:{int(left) % 60:02d} left] {words}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="\n" if self.done == self.total else "", file=sys.stderr, flush=True)
        elif last_of_case:
            print(line, file=sys.stderr, flush=True)


def columns_for(case, columns):
    """The columns that a case is measured on."""
    return [c for c in columns if loops.COLUMNS[c].applies(case.topic)] + ([loops.FLOOR] if case.floor else [])


def measure_all(cases, columns, args, timeout=120):
    """All rounds of all cases on all columns: (rows, {(case, column): what went wrong})."""
    rows = [report.Row(case, {c: [] for c in columns_for(case, columns)}) for case in cases]
    counts, failures = {}, {}
    cpu, client_cpu = processors(args.no_pin)
    progress = Progress(args.rounds * sum(len(row.results) for row in rows))
    for number in range(args.rounds):
        for row in rows:
            order = list(row.results)
            order = order[number % len(order):] + order[:number % len(order)]
            for column in order:
                key = row.case.name, column
                count = ["-n", counts[key]] if counts.get(key) else []
                result, error = (None, failures[key]) if key in failures else run_worker(
                    column, row.case.name, "--topic", row.case.topic, "--seconds", args.seconds, "--cpu", cpu,
                    "--client-cpu", client_cpu, *count, timeout=timeout)
                if error:
                    failures[key] = error
                else:
                    counts[key] = result["n"]
                    row.results[column].append(result)
                shown = report.quantity(result["value"], row.case.unit) if result else f"FAILED: {error}"
                progress.step(f"round {number + 1}: {row.case.name} on {column}: {shown}", column == order[-1])
    return [part for row in rows for part in row.parts()], failures


def load_targets(sets):
    with open(HERE / "targets.toml", "rb") as file:
        known = tomllib.load(file)
    if wrong := [s for s in sets if s not in known]:
        raise SystemExit(f"targets.toml has no set {', '.join(wrong)}; it has {', '.join(known)}")
    return {name: wanted for s in sets for name, wanted in known[s].items()}


def introduce(args, columns):
    """Say on what is measured and how; the facts, which the files that are written begin with."""
    facts = machine.describe() | {"versions": columns, "rounds": args.rounds}
    cpu, client_cpu = processors(args.no_pin)
    print(f"{facts['cpu_model_name']}, {facts['cpu_count']} CPUs, load {facts['load_avg_1min']:.2f}; {facts['platform']}\n"
          f"Python {facts['python_version']} ({facts['python_build']}); commit {facts['commit']}; "
          + ", ".join(f"{name} {version}" for name, version in columns.items() if version)
          + f"\n{args.rounds} rounds; " + (f"measured on CPU {cpu}, clients on CPU {client_cpu}" if cpu >= 0 else "not pinned"), flush=True)
    return facts


def conclude(facts):
    facts["load_avg_1min_after"] = machine.load()
    print(f"Load average {facts['load_avg_1min']:.2f} before, {facts['load_avg_1min_after']:.2f} after"
          + ("; THE MACHINE HAD OTHER WORK, do not trust wall-clock figures" if facts["load_avg_1min"] > 0.5 else ""))


def write(folder, rows, columns, clock, facts):
    """results.json, results.md, a picture for each topic and one of all."""
    folder.mkdir(parents=True, exist_ok=True)
    Path(folder, "results.json").write_text(report.as_pyperf(rows, facts))
    Path(folder, "results.md").write_text(report.markdown(rows, columns, clock, facts))
    timed = [row for row in rows if row.case.unit == "s"]
    for topic, group in report.topics(timed).items():
        plots.bars(group, columns, folder / f"{topic}.svg", clock, f"{topic}, Python {facts['python_version']}")
    plots.bars(timed, columns, folder / "all.svg", clock, f"Python {facts['python_version']}")


def main():
    args = parse()
    targets = load_targets(args.check or ["core"]) if args.check is not None else {}
    cases = choose_cases(args.topics, targets)
    targets = {case.name: targets[case.name] for case in cases if case.name in targets}
    columns = choose_columns(args.loops)
    if targets and not {"asyncio", "pyasync"} <= columns.keys():
        raise SystemExit("--check needs asyncio and pyasync among the loops")
    if args.out:
        plots.pyplot()                          # now, not when everything is measured
    native.prepare()
    facts = introduce(args, columns)
    rows, failures = measure_all(cases, columns, args)
    print(f"\nMedians in {args.clock} time\n\n{report.text(rows, columns, args.clock)}")
    conclude(facts)
    if args.out:
        write(args.out, rows, columns, args.clock, facts)
    short = report.shortfalls(rows, targets, args.clock) if targets else []
    for (name, column), error in failures.items():
        print(f"FAILED {name} on {column}: {error}", file=sys.stderr)
    for line in short:
        print(f"SHORT {line}", file=sys.stderr)
    if targets and not short:
        print(f"all {len(targets)} targets hold")
    broken = any(column in loops.OURS | {"asyncio", loops.FLOOR} for _, column in failures)
    return 1 if short or broken else 0


if __name__ == "__main__":
    sys.exit(main())
