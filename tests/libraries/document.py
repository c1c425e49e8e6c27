"""Writes the results that `--save FOLDER` has kept into docs/compatibility.md, between its two marks."""
import json
import pathlib

import measured
import suites

PAGE = pathlib.Path(__file__).parent.parent.parent / "docs" / "compatibility.md"
BEGIN, END = "<!-- made by python tests/libraries --document -->\n", "<!-- end of what python tests/libraries made -->\n"
ORDER = list(suites.BY_NAME)


def write(folder):
    kept = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    kept.sort(key=lambda k: (ORDER.index(k["library"]), version(k)))
    if not kept:
        raise SystemExit(f"{folder} holds no results")
    before, mark, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{PAGE} has no mark for the tables")
    of_suites = [k for k in kept if "loop" in k["ways"] or "install" in k["ways"]]
    of_programs = [k for k in kept if k not in of_suites]
    stamp = measured.sentence([(f"{k['library']}, {k['python']}", k) for k in kept])
    found = {("%d.%d" % version(k), k["library"]): k["ways"] for k in kept}
    missing = measured.not_run(measured.VERSIONS, ORDER, found)
    parts = [f"{v}: {name} by {way}" for (v, name), ways in found.items()
             for way in getattr(suites.BY_NAME[name], "ways", ()) if way not in ways]
    missing += f"Nor: {'; '.join(parts)}.\n\n" if parts else ""
    tables = suite_table(of_suites) + findings(of_suites) + failures(of_suites) + program_table(of_programs)
    PAGE.write_text(before + BEGIN + stamp + missing + tables + END + after)


def version(kept):
    return tuple(int(n) for n in kept["python"].split(".")[:2])


def suite_table(kept):
    columns = ("library", "Python", "way", "passed", "failed", "skipped", "passed on asyncio only", "of these pass alone or at times",
               "loops: pyasync's", "asyncio's", "others")
    lines = ["| " + " | ".join(columns) + " |", "|---|---|---|" + "---:|" * 8]
    for k in kept:
        for way, here in k["ways"].items():
            only = [f for f in here["findings"] if f["asyncio"] is not None]
            flaky = [f for f in only if f["way"]]
            differ = ["", ""] if way == "asyncio" else [len(only), len(flaky)]
            numbers = [here[outcome] for outcome in ("passed", "failed", "skipped")] + differ
            numbers += [here["loops"][kind] for kind in ("pyasync", "asyncio", "other")]
            lines.append(f"| {k['library']} {k['version']} | {k['python']} | {way} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines) + "\n\n"


def findings(kept):
    """Every test that passed on asyncio and did not on pyasync, in the run of all tests."""
    lines = []
    for k in kept:
        for way, here in k["ways"].items():
            for finding in here["findings"]:
                times = "" if finding["asyncio"] is None else f": alone, asyncio {finding['asyncio']} of 3, {way} {finding['way']} of 3"
                lines.append(f"- {k['library']}, {k['python']}, {way}: {finding['verdict']}{times}: `{finding['test']}`")
    return "\n".join(lines or ["No test passed on asyncio and failed on pyasync."]) + "\n\n"


def failures(kept):
    """What failed on asyncio itself, by library and test, with the versions."""
    found = {}
    for k in kept:
        for test in k["ways"]["asyncio"].get("failures", ()):
            found.setdefault((k["library"], test), []).append(k["python"])
    lines = [f"- {library}, {', '.join(versions)}: `{test}`" for (library, test), versions in found.items()]
    return "\n".join(["Failed on asyncio:", "", *lines]) + "\n\n" if lines else ""


def program_table(kept):
    ways = list(dict.fromkeys(way for k in kept for way in k["ways"]))
    lines = ["| program of | Python | " + " | ".join(ways) + " |", "|---|---|" + "---|" * len(ways)]
    for k in kept:
        cells = []
        for way in ways:
            here = k["ways"].get(way)
            cells.append("" if here is None else "passed" if here["passed"] and not here["failed"] else "FAILED")
        lines.append(f"| {k['library']} {k['version']} | {k['python']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
