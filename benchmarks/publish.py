"""Measure what README.md and docs/performance.md show, and write it there: one plot and one table each, and how costs grow.

    python benchmarks/publish.py                 on a machine with nothing else to do; takes an hour
    python benchmarks/publish.py --quick         a first impression, marked as such

The text between `<!-- begin NAME` and `<!-- end NAME -->` is replaced, and the pictures in docs/images/. Rows that pyasync loses stand
with the others: the list of cases below is all that is chosen.
"""
import argparse
import re
import sys

import compare
import harness
import loops
import plots
import report
import scaling

ROOT = compare.HERE.parent
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
#: One or two of every topic.
SHOWN = """
    switch create_await future_pingpong call_soon_chain timer_cancel timer_fire threadsafe_thread gather_1000 wait_for timeout
    task_group_100 lock_contended queue to_thread tree_none tree_io echo_1k echo_100k stream_echo_1k readline pingpong_sock_1k latency_1k
    aiohttp uvicorn websockets memory_task
""".split()


def replace(path, name, text):
    content = path.read_text()
    pattern = re.compile(rf"(<!-- begin {name}\b[^\n]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
    content, found = pattern.subn(lambda match: f"{match[1]}{text.strip()}\n{match[2]}", content)
    if found != 1:
        raise SystemExit(f"{path.name}: there should be one place for {name}, there are {found}")
    path.write_text(content)


def short_table(rows, clock):
    """For README: what a reader who chooses between loops wants to see."""
    lines = [["", "asyncio", "best other loop", "pyasync", "times asyncio", "times the best other"]]
    for row in rows:
        best = row.best_other(clock)
        lines.append([f"{row.case.name}", report.quantity(row.median("asyncio", clock), row.case.unit),
                      f"{report.quantity(row.median(best, clock), row.case.unit)} ({best})" if best else "–",
                      report.quantity(row.median("pyasync", clock), row.case.unit),
                      report.times(row.ratio("pyasync", "asyncio", clock)),
                      report.times(row.ratio("pyasync", best, clock)) if best else "–"])
    return report.as_markdown(lines)


def long_table(rows, columns, clock):
    header, lines = report.table(rows, columns, clock)
    cases = {row.case.name: f"- `{row.case.name}`: {row.case.about} (per {row.case.operation})" for row in rows}
    return report.as_markdown([header, *lines]) + "\n\n" + "\n".join(cases.values())


def growth_table(curves):
    sizes = sorted({size for curve in curves.values() for size, _ in curve.get("pyasync", [])})
    lines = [["", "should be", *(f"{size:,}" for size in sizes)]]
    for name, curve in curves.items():
        costs = dict(curve.get("pyasync", []))
        lines.append([name, scaling.bench_scaling.CURVES[name][2], *(report.quantity(costs.get(size), "s") for size in sizes)])
    return report.as_markdown(lines)


def said(args, facts):
    return ("**A quick run, to be replaced.** " if args.quick else "") + report.provenance(facts, args.clock)


def publish_speed(args, columns, facts):
    rows, failures = compare.measure_all(compare.choose_cases(SHOWN, {}), columns, args)
    compare.conclude(facts)
    if args.out:
        compare.write(args.out, rows, columns, args.clock, facts)
    timed = [row for row in rows if row.case.unit == "s"]
    plots.bars(timed, columns, IMAGES / "speed.svg", args.clock, f"pyasync and others, Python {facts['python_version']}")
    failed = [f"- `{name}` on {column} failed: {error}" for (name, column), error in failures.items()]
    replace(ROOT / "README.md", "speed",
            f"![speed of pyasync and others](docs/images/speed.svg)\n\n{short_table(rows, args.clock)}\n\n{said(args, facts)}")
    replace(PAGE, "speed", "\n".join([said(args, facts), "", long_table(rows, columns, args.clock), *failed]))
    return failures


def publish_scaling(args, columns, facts):
    largest = args.largest or (10_000 if args.quick else 1_000_000)
    cases = [case for case in harness.CASES.values() for _, _, size in [case.name.partition("@")]
             if case.topic == "scaling" and int(size) <= largest]
    args.rounds = facts["rounds"] = 1 if args.quick else 3
    rows, failures = compare.measure_all(cases, columns, args, timeout=900)
    compare.conclude(facts)
    curves = scaling.by_curve(rows, args.clock)
    plots.scaling(curves, scaling.bench_scaling.CURVES, IMAGES / "scaling.svg")
    failed = [f"`{name}` on {column} failed: {error}" for (name, column), error in failures.items()]
    noticed = "\n".join(f"- {line}" for line in scaling.remarks(curves) + failed) or "No curve grows faster than it should."
    replace(PAGE, "scaling", f"![cost of an operation as what there is grows](images/scaling.svg)\n\npyasync:\n\n{growth_table(curves)}\n\n"
                             f"{noticed}\n\n{said(args, facts)}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    compare.add_measuring_arguments(parser, rounds=7, quick_rounds=3)
    parser.add_argument("--only", choices=["speed", "scaling"], help="measure and write only these figures")
    parser.add_argument("--largest", type=int, help="largest size of the growing costs (default 1,000,000; with --quick 10,000)")
    args = compare.complete(parser.parse_args())
    plots.pyplot()
    columns = compare.choose_columns(args.loops)
    facts = compare.introduce(args, columns)
    IMAGES.mkdir(parents=True, exist_ok=True)
    failures = {}
    if args.only != "scaling":
        failures |= publish_speed(args, columns, facts)
    if args.only != "speed":
        failures |= publish_scaling(args, columns, facts)
    for (name, column), error in failures.items():
        print(f"FAILED {name} on {column}: {error}", file=sys.stderr)
    return 1 if any(column in loops.OURS for _, column in failures) else 0


if __name__ == "__main__":
    sys.exit(main())
