"""From the collected samples to the table, the Markdown and the JSON."""
import dataclasses
import json
import statistics

import loops


@dataclasses.dataclass
class Row:
    """One case with every column's samples: {column: [result dict of the worker]}."""
    case: object
    results: dict

    def parts(self):
        """The rows that this one is shown as: itself, or one for each part of its samples."""
        if not self.case.parts:
            return [self]
        rows = []
        for name, key in [*self.case.parts.items(), ("CPU", None)]:
            results = {column: [result | {"value": result["extra"][key] * 1e-6 if key else result["cpu_value"], "cpu_value": None}
                                for result in results if key or result["cpu_value"] is not None]
                       for column, results in self.results.items()}
            rows.append(Row(dataclasses.replace(self.case, name=f"{self.case.name} {name}", parts=None), results))
        return rows

    def values(self, column, clock="wall"):
        values = [r["value" if clock == "wall" or r["cpu_value"] is None else "cpu_value"] for r in self.results.get(column, [])]
        return values

    def has_cpu_time(self, column):
        return any(r["cpu_value"] is not None for r in self.results.get(column, []))

    def median(self, column, clock="wall"):
        values = self.values(column, clock)
        return statistics.median(values) if values else None

    def spread(self, column, clock="wall"):
        """Interquartile range as a part of the median; None below three values."""
        values = self.values(column, clock)
        if len(values) < 3:
            return None
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return (high - low) / statistics.median(values)

    def ratio(self, column, to, clock="wall"):
        """How many times better `column` is than `to`; None if either is missing."""
        mine, other = self.median(column, clock), self.median(to, clock)
        return other / mine if mine and other else None

    def best_other(self, clock="wall"):
        """The column with the best figure among those that are not this project's (the floor does not compete)."""
        others = [c for c in self.results if c not in loops.OURS and c != loops.FLOOR and self.median(c, clock)]
        return min(others, key=lambda c: self.median(c, clock), default=None)


def quantity(value, unit):
    if value is None:
        return "–"
    if unit == "B":
        return f"{value:,.0f} B"
    for factor, name in ((1e9, "ns"), (1e6, "µs"), (1e3, "ms")):
        if value * factor < 1000:
            break
    shown = value * factor
    return f"{shown:.3g} {name}" if shown < 100 else f"{shown:.0f} {name}"


def times(ratio, digits=2):
    return "–" if ratio is None else f"{ratio:.{digits}f}x"


def cell(row, column, clock):
    if not row.results.get(column):
        return "failed" if column in row.results else "–"
    spread = row.spread(column, clock)
    around = "" if spread is None else f" ±{spread * 50:.0f}%"
    return quantity(row.median(column, clock), row.case.unit) + around


def main_column(columns):
    """The column the ratios are about: pyasync if it was measured, else the last one."""
    return "pyasync" if "pyasync" in columns else [c for c in columns if c != loops.FLOOR][-1]


def of_best_other(row, about, clock):
    best = row.best_other(clock)
    return times(row.ratio(about, best, clock)) + f" {best}" if best and best != about else "–"


def table(rows, columns, clock):
    """Header and lines of one topic's table, as lists of strings."""
    about = main_column(columns)
    limited = any(loops.FLOOR in row.results for row in rows)
    shown = [c for c in columns if c != loops.FLOOR] + ([loops.FLOOR] if limited else [])
    header = ["", *shown, f"{about} / asyncio", "in CPU time", "/ best other", "in CPU time"] + (["of floor"] if limited else [])
    lines = []
    for row in rows:
        in_cpu_time = row.has_cpu_time(about)
        line = [row.case.name, *(cell(row, c, clock) for c in shown), times(row.ratio(about, "asyncio", clock)),
                times(row.ratio(about, "asyncio", "cpu")) if in_cpu_time else "–", of_best_other(row, about, clock),
                of_best_other(row, about, "cpu") if in_cpu_time else "–"]
        if limited:
            line.append(times(row.ratio(about, loops.FLOOR, clock)))
        lines.append(line)
    return header, lines


def topics(rows):
    grouped = {}
    for row in rows:
        grouped.setdefault(row.case.topic, []).append(row)
    return grouped


def aligned(lines):
    """A table for the terminal: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]).rstrip() for line in lines)


def as_markdown(lines):
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([rows[0], "|" + "---|" + "---:|" * (len(lines[0]) - 1), *rows[1:]])


def text(rows, columns, clock):
    out = []
    for topic, group in topics(rows).items():
        header, lines = table(group, columns, clock)
        header[0] = topic
        out += [aligned([header, *lines]), ""]
    return "\n".join(out)


def provenance(facts, clock):
    measured = f"{'CPU' if clock == 'cpu' else 'wall-clock'} time of an operation"
    how = f"Medians of {facts['rounds']} rounds, {measured} ± half the interquartile range" if facts["rounds"] > 1 else f"One round, {measured}"
    return (f"Measured on {facts['cpu_model_name']} ({facts['cpu_count']} CPUs), {facts['platform']}, "
            f"Python {facts['python_version']} ({facts['python_build']}); "
            + ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
            + f"; commit {facts['commit']}. {how}; load average {facts['load_avg_1min']:.1f} before, "
            f"{facts['load_avg_1min_after']:.1f} after" + (": the machine had other work." if facts["load_avg_1min"] > 0.5 else "."))


def markdown(rows, columns, clock, facts):
    out = [provenance(facts, clock), ""]
    for topic, group in topics(rows).items():
        header, lines = table(group, columns, clock)
        out += [f"### {topic}", "", as_markdown([header, *lines]), ""]
        out += [*(f"- `{row.case.name}`: {row.case.about} (per {row.case.operation})" for row in group), ""]
    return "\n".join(out)


def as_pyperf(rows, facts):
    """A pyperf suite: `python -m pyperf show FILE` and `compare_to` read it. A benchmark is a case on a column, a run a process."""
    shared = {k: v for k, v in facts.items() if isinstance(v, (str, int, float))}
    shared |= {f"{name}_version": version for name, version in facts["versions"].items() if version}
    suite = []
    for row in rows:
        for column, results in row.results.items():
            if not results:
                continue
            runs = [{"values": [r["value"]],
                     "metadata": {key: r[key] for key in ("cpu_value", "operations", "peak_rss_kb") if r[key] is not None} | r["extra"]}
                    for r in results]
            suite.append({"metadata": {"name": f"{row.case.name}[{column}]", "unit": "second" if row.case.unit == "s" else "byte",
                                       "case": row.case.name, "column": column, "topic": row.case.topic, "loops": 1,
                                       **{f"{what}_class": name for what, name in results[0]["classes"].items()}},
                          "runs": runs})
    return json.dumps({"version": "1.0", "metadata": shared, "benchmarks": suite}, indent=1)


def shortfalls(rows, targets, clock="wall", column="pyasync"):
    """Names of the rows below their target, with the figures, as text; rows that were not measured are shortfalls too.

    A target is {column: how many times better than that}; `most` is a bound on the figure itself, and `clock` the clock to look at
    instead of the one asked for.
    """
    by_name = {row.case.name: row for row in rows}
    short = []
    for name, wanted in targets.items():
        row, by_clock = by_name.get(name), wanted.get("clock", clock)
        for to, least in wanted.items():
            if to == "clock":
                continue
            figure = row and (row.median(column, by_clock) if to == "most" else row.ratio(column, to, by_clock))
            if figure is None:
                short.append(f"{name}: not measured" + ("" if to == "most" else f" against {to}"))
            elif to == "most" and figure > least:
                short.append(f"{name}: {quantity(figure, row.case.unit)}, wanted {quantity(least, row.case.unit)} at most")
            elif to != "most" and figure < least:
                short.append(f"{name}: {figure:.2f}x {to}, wanted {least:g}x" + (" in CPU time" if by_clock != clock else ""))
    return short
