"""not_applicable.txt: which tests of CPython's suite say nothing about pyasync, and why."""
import sys

VERSION = "%d.%d" % sys.version_info[:2]


class Reasons:
    """The file's entries. A line that begins in the first column and is no comment is a reason; the indented lines below it name
    the tests, FILE.CLASS.TEST. `[3.11 3.12]` after a name: on these versions only; `[types]`: in these modes only."""

    def __init__(self, path):
        self.entries, self.used = [], set()
        reason = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            if not line.startswith(" "):
                reason = line.strip() if reason is None or self.entries and self.entries[-1][1] is reason else f"{reason} {line.strip()}"
                continue
            name, _, versions = line.strip().partition(" ")
            if reason is None or name.count(".") != 2 or "*" in name:
                raise ValueError(f"{path}:{number}: not a test with a reason: {line}")
            self.entries.append((name, reason, versions.strip("[] ").split()))

    def find(self, mode, module, cls, test):
        for name, reason, only in self.entries:
            if name == f"{module}.{cls}.{test}" and (not only or VERSION in only or mode in only):
                return reason
        return None

    def unused(self):
        return [reason for reason in dict.fromkeys(reason for _, reason, only in self.entries
                                                   if not only or VERSION in only) if reason not in self.used]
