"""How the cost of an operation grows with what else there is: 10 to 1,000,000 tasks, timers, connections, items.

    python benchmarks/scaling.py                          every curve, every loop that is installed; takes half an hour
    python benchmarks/scaling.py timer_fire --loops asyncio,pyasync --out results
    python benchmarks/scaling.py --quick                  up to 10,000, once

Prints a table for each curve and how much dearer the operation is at the largest size than at 1,000; --out FOLDER writes
scaling.json (pyperf's format), scaling.md and scaling.svg. Most should be flat, timers logarithmic. What the processor's caches and the
garbage collector add to large sizes is in every column: see docs/performance.md.
"""
import argparse
import sys
from pathlib import Path

import bench_scaling
import compare
import harness
import loops
import plots
import report

#: A curve may cost this many times more at its end than at 1,000 before it is remarked on: caches are smaller than 1,000,000 tasks.
FLAT, LOGARITHMIC = 2.0, 4.0
FROM = 1000


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=f"of {', '.join(bench_scaling.CURVES)}; default: all")
    compare.add_measuring_arguments(parser, rounds=3, quick_rounds=1)
    parser.add_argument("--largest", type=int, help="do not go beyond this size (default 1,000,000; with --quick 10,000)")
    args = compare.complete(parser.parse_args())
    if wrong := [name for name in args.curves if name not in bench_scaling.CURVES]:
        parser.error(f"there is no curve {', '.join(wrong)}")
    args.curves = args.curves or list(bench_scaling.CURVES)
    args.largest = args.largest or (10_000 if args.quick else max(bench_scaling.SIZES))
    return args


def by_curve(rows, clock):
    """{curve: {column: [(size, seconds)]}}, without what could not be measured."""
    curves = {}
    for row in rows:
        name, _, size = row.case.name.partition("@")
        for column in row.results:
            if (median := row.median(column, clock)) is not None:
                curves.setdefault(name, {}).setdefault(column, []).append((int(size), median))
    return curves


def growth(points):
    """How many times dearer at the largest size than at FROM (or the first size above it); None with fewer than two."""
    points = [(size, cost) for size, cost in points if size >= FROM]
    return points[-1][1] / points[0][1] if len(points) > 1 else None


def table(name, curve):
    operation, grows, law = bench_scaling.CURVES[name]
    sizes = sorted({size for points in curve.values() for size, _ in points})
    lines = [["", *(f"{size:,}" for size in sizes), f"from {FROM:,} on"]]
    for column, points in curve.items():
        costs, grown = dict(points), growth(points)
        lines.append([column, *(report.quantity(costs.get(size), "s") for size in sizes), report.times(grown, 1)])
    return f"{name}: one {operation}, {grows}; should be {law}", lines


def remarks(curves):
    """Curves of this project that grow faster than they should, as text."""
    found = []
    for name, curve in curves.items():
        law = bench_scaling.CURVES[name][2]
        grown = growth(curve.get("pyasync", []))
        if grown and grown > (FLAT if law == "flat" else LOGARITHMIC):
            found.append(f"{name}: {grown:.1f}x from {FROM:,} to {curve['pyasync'][-1][0]:,}, should be {law}")
    return found


def main():
    args = parse()
    cases = [case for case in harness.CASES.values() for name, _, size in [case.name.partition("@")]
             if name in args.curves and int(size) <= args.largest]
    columns = compare.choose_columns(args.loops)
    if args.out:
        plots.pyplot()
    facts = compare.introduce(args, columns)
    rows, failures = compare.measure_all(cases, columns, args, timeout=900)
    compare.conclude(facts)
    curves = by_curve(rows, args.clock)
    markdown = ["# How costs grow", "", report.provenance(facts, args.clock), ""]
    for name, curve in curves.items():
        title, lines = table(name, curve)
        print(f"\n{title}\n{report.aligned(lines)}")
        markdown += [f"### {title}", "", report.as_markdown(lines), ""]
    for line in [*(noticed := remarks(curves)), *(f"{name} on {column}: {error}" for (name, column), error in failures.items())]:
        print(f"NOTE {line}")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        Path(args.out, "scaling.json").write_text(report.as_pyperf(rows, facts))
        Path(args.out, "scaling.md").write_text("\n".join(markdown + [f"- {line}" for line in noticed]) + "\n")
        plots.scaling(curves, bench_scaling.CURVES, args.out / "scaling.svg")
    return 1 if any(column in loops.OURS for _, column in failures) else 0


if __name__ == "__main__":
    sys.exit(main())
