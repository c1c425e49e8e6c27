"""Writes the results that `--save FOLDER` has kept into docs/compatibility.md, between its two marks."""
import json
import pathlib

import measured
import modes

PAGE = pathlib.Path(__file__).parent.parent.parent / "docs" / "compatibility.md"
BEGIN, END = "<!-- made by python tests/stdlib --document -->\n", "<!-- end of what the command made -->\n"


def write(folder):
    runs = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    runs.sort(key=lambda run: (_version(run), modes.MODES.index(run["mode"])))
    if not runs:
        raise SystemExit(f"{folder} holds no results")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after and not rest:
        raise SystemExit(f"{PAGE} has no mark for the tables")
    stamp = measured.sentence([(f"{run['python']} {run['mode']}", run) for run in runs])
    missing = measured.not_run(measured.VERSIONS, modes.MODES, {("%d.%d" % _version(run), run["mode"]) for run in runs})
    PAGE.write_text(before + BEGIN + stamp + _totals(runs) + "\n" + missing + _files(runs) + END + after)


def _version(run):
    return tuple(int(n) for n in run["python"].split(".")[:2])


def _count(tests, *verdicts):
    return sum(test["verdict"] in verdicts for test in tests)


def _totals(runs):
    lines = ["| Python | mode | run | passed | passed, made no loop | failed | not applicable | skipped by the suite |",
             "|---|---|---:|---:|---:|---:|---:|---:|"]
    for run in runs:
        tests = run["tests"].values()
        numbers = [len(tests) - _count(tests, "skipped")]
        numbers += [_count(tests, verdict) for verdict in ("passed", "no loop", "failed", "not applicable", "skipped")]
        lines.append(f"| {run['python']} | {run['mode']} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines) + "\n"


def _files(runs):
    """Each file's line: for each version, over the modes, how many passed of how many that apply."""
    versions = sorted({_version(run) for run in runs})
    names = sorted({name.partition(".")[0] for run in runs for name in run["tests"]})
    lines = ["Passed, of those that apply, over all modes:", "",
             "| file | " + " | ".join("%d.%d" % v for v in versions) + " |", "|---|" + "---:|" * len(versions)]
    for name in names:
        cells = []
        for version in versions:
            tests = [test for run in runs if _version(run) == version for full, test in run["tests"].items()
                     if full.partition(".")[0] == name]
            passed, failed = _count(tests, "passed", "no loop"), _count(tests, "failed")
            cells.append(f"{passed} of {passed + failed}" if tests else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
