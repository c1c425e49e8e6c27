"""Runs test classes of one module of CPython's test.test_asyncio in this process, and reports each test as it begins and ends.

    worker.py MODE MODULE list              the classes of the module and their tests
    worker.py MODE MODULE CLASS [TEST...]   runs these tests

The report goes to descriptor REPORT_FD, one JSON object a line, written at once: whoever reads it knows the test that a crash or a
hang belongs to. The command that uses this is in __main__.py.
"""
import faulthandler
import importlib
import json
import os
import sys
import unittest

import modes

REPORT_FD = int(os.environ.pop("REPORT_FD", "1"))


def say(**report):
    data = (json.dumps(report) + "\n").encode()
    while data:
        data = data[os.write(REPORT_FD, data):]


class Result(unittest.TestResult):
    """Says what becomes of each test. Failing subtests make one failure with all their texts."""

    running = None

    def startTest(self, test):
        super().startTest(test)
        self.running = test
        self.before, self.outcome, self.texts = dict(modes.made), None, []
        say(event="start", test=test.id().rpartition(".")[2])

    def stopTest(self, test):
        super().stopTest(test)
        if self.running is None:                             # 3.12.1: skipped with its class, and not started
            return
        self.running = None
        name = test.id().rpartition(".")[2]
        loops = {kind: n - self.before[kind] for kind, n in modes.made.items()}
        say(event="end", test=name, outcome=self.outcome or "passed", text="\n".join(self.texts), loops=loops)

    def _failed(self, test, err):
        self.outcome = "failed"
        self.texts.append(self._exc_info_to_string(err, test))

    def addError(self, test, err):
        if not isinstance(test, unittest.TestCase):          # setUpClass, setUpModule and their counterparts
            say(event="fixture", test=str(test), text=self._exc_info_to_string(err, test))
        else:
            self._failed(test, err)

    def addFailure(self, test, err):
        self._failed(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self._failed(test, err)
            self.texts[-1] = f"{subtest}\n{self.texts[-1]}"

    def addSkip(self, test, reason):
        if not isinstance(test, unittest.TestCase):
            say(event="fixture", test=str(test), text=reason, skipped=True)
        elif self.running is None:
            say(event="end", test=test.id().rpartition(".")[2], outcome="skipped", text=reason)
        elif self.outcome is None:
            self.outcome = "skipped"
            self.texts.append(reason)

    def addExpectedFailure(self, test, err):
        self.outcome = "passed"

    def addUnexpectedSuccess(self, test):
        self.outcome = "failed"
        self.texts.append("it was expected to fail and did not")


def classes_of(module, mode):
    """The module's test classes by name; one that it has imported from elsewhere is not its own."""
    return {cls.__name__: cls for cls in vars(module).values()
            if isinstance(cls, type) and issubclass(cls, unittest.TestCase) and cls.__module__ == module.__name__
            and modes.applies(mode, cls)}


def main(mode, module_name, what, *tests):
    os.set_inheritable(REPORT_FD, False)
    faulthandler.enable()
    modes.set_up(mode, module_name)
    try:
        module = importlib.import_module(f"{modes.PACKAGE}.{module_name}")
    except unittest.SkipTest as e:
        say(event="module", skipped=str(e))
        return
    classes = classes_of(module, mode)
    names = unittest.TestLoader().getTestCaseNames
    if what == "list":
        say(event="module", classes={name: list(names(cls)) for name, cls in classes.items()})
        return
    suite = unittest.TestSuite([classes[what](test) for test in tests or names(classes[what])])
    suite.run(Result())
    say(event="finished")


if __name__ == "__main__":
    main(*sys.argv[1:])
