"""Up to Python 3.13, asyncio's set of all tasks shows native tasks as well.

asyncio keeps its tasks in a WeakSet, asyncio.tasks._scheduled_tasks (3.11: _all_tasks). Adding each native task to it would cost
more than running the task; so native tasks are only linked together in C, and the set is given a class of its own that asks for
them when somebody looks. The object stays the one that asyncio, its C module and others hold.

From 3.14 on CPython has a list that native tasks are in, and there is nothing to do.
"""
import sys
import weakref
from asyncio import tasks

from . import _core


def _task_set_class(base):
    """A subclass of base, a kind of WeakSet. What it does differently holds for the one instance that has `_native_modules`, the
    C modules whose tasks belong to it; sets made of it (a copy, a union) are plain ones."""

    class TaskSet(base):
        __slots__ = ()

        @property
        def data(self):
            # whoever reads the references themselves gets all of them: native tasks move in for good
            data = self.__dict__["data"]
            for module in self.__dict__.get("_native_modules", ()):
                data.update([weakref.ref(task, self._remove) for task in module._take_native_tasks()])
            return data

        @data.setter
        def data(self, value):
            self.__dict__["data"] = value

        def _native_tasks(self):
            """Those that are not in the set anyway."""
            data = self.__dict__["data"]
            return [task for module in self.__dict__.get("_native_modules", ()) for task in module._native_tasks()
                    if weakref.ref(task) not in data]

        def __iter__(self):
            # list(a set) is one step: nothing can change the set meanwhile
            for reference in list(self.__dict__["data"]):
                task = reference()
                if task is not None:
                    yield task
            yield from self._native_tasks()

        def __len__(self):
            return len(self.__dict__["data"]) - len(self._pending_removals) + len(self._native_tasks())

        def __contains__(self, item):
            try:
                reference = weakref.ref(item)
            except TypeError:
                return False
            return reference in self.__dict__["data"] or any(task is item for task in self._native_tasks())

        # The methods that asyncio calls for each of its own tasks: native tasks stay where they are.

        def add(self, item):
            if self._pending_removals:
                self._commit_removals()
            self.__dict__["data"].add(weakref.ref(item, self._remove))

        def _commit_removals(self):
            pending, data = self._pending_removals, self.__dict__["data"]
            while pending:
                data.discard(pending.pop())

    return TaskSet


def _remover(task_set):
    """What the set's references call when their task goes away."""
    def remove(reference, selfref=weakref.ref(task_set)):
        self = selfref()
        if self is None:
            return
        if self._iterating:
            self._pending_removals.append(reference)
        else:
            self.__dict__["data"].discard(reference)
    return remove


def _install(module, task_set):
    """Makes `task_set` show the native tasks of `module`; those of another instance of the C module stay."""
    modules = task_set.__dict__.get("_native_modules")
    if modules is not None:
        if module not in modules:
            modules.append(module)
        return
    task_set.__class__ = _task_set_class(type(task_set))
    task_set._remove = _remover(task_set)
    task_set._native_modules = [module]


if sys.version_info < (3, 14):
    _install(_core, tasks._scheduled_tasks if hasattr(tasks, "_scheduled_tasks") else tasks._all_tasks)
