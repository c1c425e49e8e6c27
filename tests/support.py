"""Helpers shared by the behaviour tests: loops with a recording exception handler, outcomes that can be compared."""
import asyncio
import contextlib
import gc
import inspect
import os
import re
import resource
import socket
import sys
import time
import types

PY = sys.version_info

# From 3.14 on asyncio's task in Python has registries of its own: asyncio.current_task() and all_tasks() do not see it.
PYTASK_IS_SEEN = PY < (3, 14)

EAGER = hasattr(asyncio, "eager_task_factory")      # eager tasks came with 3.12

# In 3.13.0 a refused run_forever() of a running loop wipes the running state of that loop.
_source = inspect.getsource(asyncio.BaseEventLoop.run_forever)
NESTED_RUN_FOREVER_BREAKS = "_run_forever_setup" in _source and _source.index("try:") < _source.index("_run_forever_setup")


def open_fds():
    """What each open descriptor points to, without the one that reads the listing."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return {fd: to for fd, to in found.items() if not to.startswith("/proc/")}


class Errors:
    """A loop's exception handler that keeps the contexts; a test takes those it expects, the rest fail it."""

    def __init__(self):
        self.contexts = []

    def __call__(self, loop, context):
        self.contexts.append(context)

    def take(self):
        taken, self.contexts = self.contexts, []
        return taken

    def take_one(self):
        taken = self.take()
        assert len(taken) == 1, f"one report expected, got {taken}"
        return taken[0]


def check_kind(aio, loop):
    """A pyasync loop must be pyasync's own: a silently used stdlib loop would make every test pass."""
    if aio is asyncio:
        assert type(loop).__module__.startswith("asyncio")
        return
    assert type(loop) is aio.EventLoop
    assert isinstance(loop, sys.modules["pyasync._core"].EventLoop)
    assert isinstance(loop, asyncio.BaseEventLoop)


@contextlib.contextmanager
def fresh_loop(aio, errors=None, debug=False):
    """A new loop of that module, closed at the end; whatever its exception handler saw and nobody took is an error."""
    errors = Errors() if errors is None else errors
    loop = aio.new_event_loop()
    check_kind(aio, loop)
    loop.set_debug(debug)
    loop.set_exception_handler(errors)
    loop.errors = errors
    try:
        yield loop
        gc.collect()
    finally:
        if not loop.is_closed():
            finish(loop)
        loop.set_exception_handler(None)
    assert not errors.contexts, f"unexpected reports to the exception handler: {errors.contexts}"


def finish(loop):
    """Cancels what a failed or careless test left, as asyncio.run does, then closes."""
    if loop.is_running():
        return
    left = [t for t in asyncio.all_tasks(loop) if not t.done() and t._log_destroy_pending]
    for task in left:
        task.cancel()
    if left:
        async def gathered():
            await asyncio.wait(left, timeout=2)
        loop.run_until_complete(gathered())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def loop_class(aio):
    loop = aio.new_event_loop()
    loop.close()
    return type(loop)


def callback(*args):
    pass


async def none():
    pass


async def forever(loop):
    await loop.create_future()


@types.coroutine
def bare_yield():
    yield


@types.coroutine
def yields(value):
    return (yield value)


async def agen(log, name="gen"):
    """An asynchronous generator that writes down how it is closed."""
    try:
        yield 1
        yield 2
    finally:
        log.append(f"{name} closing")
        await asyncio.sleep(0)
        log.append(f"{name} closed")


STATES = ("pending", "result", "exception", "cancelled")


def in_state(loop, state):
    """A future of the loop in one of the STATES."""
    f = type(loop.create_future())(loop=loop)     # create_future() is a Python frame of asyncio's in debug tracebacks
    if state == "result":
        f.set_result("value")
    elif state == "exception":
        f.set_exception(ValueError("wrong"))
        f._log_traceback = False
    elif state == "cancelled":
        f.cancel("enough")
    return f


def spin(loop, ticks=1):
    """Runs that many whole ticks of the loop."""
    for _ in range(ticks):
        loop.call_soon(loop.stop)
        loop.run_forever()


def spin_until(loop, condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        loop.call_later(0.002, loop.stop)
        loop.run_forever()


def scrub(text):
    """Removes addresses, task numbers and durations, and the names under which only the classes differ."""
    text = re.sub(r"0x[0-9a-fA-F]+", "0x", text)
    text = re.sub(r"Task-\d+", "Task-N", text)
    text = re.sub(r"\b\d+\.\d+ seconds", "N seconds", text)
    text = re.sub(r"\bfd=\d+", "fd=N", text)
    text = re.sub(r"\b(pyasync\._core|pyasync\.\w+|pyasync|_asyncio|asyncio\.\w+|asyncio)\.(?=[A-Z_])", "", text)
    text = re.sub(r"<TaskStepMethWrapper object at 0x>|Task\.task_step", "<the step of a task>", text)
    text = text.replace("_SelectorSocketTransport", "SocketTransport")
    return re.sub(r"when=[\d.]+", "when=N", text)


def plain(value):
    """A comparable stand-in for a value of either module."""
    if isinstance(value, BaseException):
        return (type(value).__name__, scrub(str(value)))
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, bytes, type(Ellipsis))):
        return value
    return scrub(repr(value))


def outcome(function, *args, text=True, **kwargs):
    """What a call does: its plain result, or its exception's type (and text)."""
    try:
        return ["returned", plain(function(*args, **kwargs))]
    except BaseException as e:
        return ["raised", type(e).__name__] + ([scrub(str(e))] if text else [])


def report(context):
    """An exception handler's context in comparable form: the keys, the message, the exception."""
    return {"keys": sorted(context), "message": scrub(context["message"]), "exception": plain(context.get("exception"))}


def tb_lines(exc):
    n, tb = 0, exc.__traceback__
    while tb is not None:
        n, tb = n + 1, tb.tb_next
    return n


@contextlib.contextmanager
def rewritten_in_place(function, before):
    """Gives a Python function code that calls before(*args) first, as tracers do it."""
    original = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    original.__kwdefaults__ = function.__kwdefaults__

    def call(*args, **kwargs):
        before(*args)
        return original(*args, **kwargs)

    async def async_wrapper(*args, **kwargs):
        return await __call(*args, **kwargs)                 # noqa: F821

    def wrapper(*args, **kwargs):
        return __call(*args, **kwargs)                       # noqa: F821
    function.__globals__["__call"] = call                    # a function's code can get no new free variables
    code = (async_wrapper if inspect.iscoroutinefunction(function) else wrapper).__code__
    function.__code__ = code.replace(co_freevars=original.__code__.co_freevars)
    try:
        yield
    finally:
        function.__code__ = original.__code__
        del function.__globals__["__call"]


class FakeLoop:
    """The least a foreign loop offers to futures and tasks: they must not ask for more."""

    def __init__(self, debug=False):
        self.debug, self.queue, self.reports = debug, [], []

    def get_debug(self):
        return self.debug

    def call_soon(self, callback, *args, context=None):
        self.queue.append((callback, args, context))

    def call_exception_handler(self, context):
        self.reports.append(context)

    def is_running(self):
        return False

    def is_closed(self):
        return False

    def run_one(self):
        callback, args, context = self.queue.pop(0)
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)          # from 3.14 on a task is stepped by its running loop only
        try:
            if context is None:
                callback(*args)
            else:
                context.run(callback, *args)
        finally:
            asyncio._set_running_loop(before)

    def run_all(self):
        while self.queue:
            self.run_one()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def nonblocking_pair(kind=socket.SOCK_STREAM):
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    a.setblocking(False)
    b.setblocking(False)
    return a, b


@contextlib.contextmanager
def no_descriptors(left=0):
    """Nothing can be opened within, but `left` descriptors."""
    gc.collect()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + left, limits[1]))         # at least `left` fillers, no hole below or many
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        for _ in range(left):
            os.close(fillers.pop())
        yield
    finally:
        for fd in fillers:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
