"""Of which pyasync results are: kept beside them, so that a page that is made of them can say it."""
import datetime
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
MODES = ("loop", "install", "import", "types", "types-task", "types-future", "types-call-soon", "types-asyncio")    # tests/stdlib/modes.py
SOURCES = ("csrc", "pyasync", "setup.py", "pyproject.toml")


def commit():
    """The last one that changed what pyasync is made of."""
    return _git("log", "-1", "--abbrev=7", "--format=%h", "--", *SOURCES) or "no commit: this is no checkout"


def stamp():
    """{commit, day}. With ` and changes` if there are some since the commit."""
    changes = " and changes" if _git("status", "--porcelain", "--", *SOURCES) else ""
    return {"commit": commit() + changes, "day": datetime.datetime.now(datetime.UTC).date().isoformat()}


def _git(*command):
    try:
        done = subprocess.run(["git", "-C", ROOT, *command], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def sentence(kept):
    """What to write above a table of these results; kept: [(what it is of, its stamp)]. What most of them are of is not told singly."""
    found = {}
    for what, of in kept:
        found.setdefault(of["commit"], []).append((what, of["day"]))
    parts = []
    for commit, runs in found.items():
        days = sorted({day for _, day in runs})
        whose = "" if 2 * len(runs) > len(kept) else f" ({', '.join(dict.fromkeys(what for what, _ in runs))})"
        parts.append(f"{commit}{whose}, {' to '.join(dict.fromkeys((days[0], days[-1])))}")
    return f"Measured at commit {'; at commit '.join(parts)}.\n\n"


def not_run(versions, wanted, found):
    """What of wanted is missing in found, the (version, name) there are: a sentence, or nothing."""
    parts = []
    for version in versions:
        missing = [name for name in wanted if (version, name) not in found]
        if missing:
            parts.append(f"{version}: {'all' if len(missing) == len(wanted) else ', '.join(missing)}")
    return f"Not run there: {'; '.join(parts)}.\n\n" if parts else ""
