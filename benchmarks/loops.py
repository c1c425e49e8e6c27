"""The columns of the table: what can be measured, and how its user gets at it.

Each loop is used as its own documentation says: asyncio and the loops that only replace the event loop are
`import asyncio` with a loop factory; pyasync is `import pyasync as asyncio`, because that is the line its users write
and only with it do Future, Task and everything awaited come from it. `pyasync-loop` is the other way in: a program that
imports asyncio and runs on pyasync's loop.

Nothing is believed: before it measures, the worker looks at the classes of the running loop, of its futures and its
tasks, stops if they are not those stated here, and puts their names into the result.
"""
import dataclasses
import importlib
import importlib.metadata
import importlib.util

STDLIB_TASK = "_asyncio.Task"
STDLIB_FUTURE = "_asyncio.Future"


@dataclasses.dataclass
class Column:
    name: str
    needs: str | None               #: the module that must be installed; None for the standard library
    as_asyncio: str = "asyncio"     #: what the user imports under the name asyncio
    factory: object = None          #: from the module `needs`, what makes a loop; None: the default of `as_asyncio`
    loop: str = ""                  #: expected classes: a name or the beginning of one
    future: str = STDLIB_FUTURE
    task: str = STDLIB_TASK
    network: str = ""               #: where create_server must come from
    only_network: bool = False      #: nothing but transports differs from the loop beneath, other topics are not measured

    def applies(self, topic):
        return not self.only_network or topic in NETWORK

    def installed(self):
        return self.needs is None or importlib.util.find_spec(self.needs) is not None

    def version(self):
        if self.needs is None:
            return None
        try:
            return importlib.metadata.version(self.needs)
        except importlib.metadata.PackageNotFoundError:
            return getattr(importlib.import_module(self.needs), "__version__", "in place")

    def module(self):
        return importlib.import_module(self.as_asyncio)

    def runner(self):
        """A Runner as this loop's user makes one."""
        asyncio = self.module()
        if self.factory is None:
            return asyncio.Runner()
        return asyncio.Runner(loop_factory=self.factory(importlib.import_module(self.needs)))


#: Topics in which connections are made.
NETWORK = {"connections", "echo", "latency", "pingpong", "programs", "sendfile", "sock", "streams", "tls", "udp"}


def new_event_loop(module):
    return module.new_event_loop


COLUMNS = {column.name: column for column in (
    Column("asyncio", None, loop="asyncio."),
    Column("uvloop", "uvloop", factory=new_event_loop, loop="uvloop.Loop"),
    Column("rloop", "rloop", factory=new_event_loop, loop="rloop."),
    Column("zuvloop", "zuvloop", factory=new_event_loop, loop="zuvloop.", future="", task=""),
    Column("rsloop", "rsloop", factory=new_event_loop, loop="rsloop.", future="", task=""),
    Column("winloop", "winloop", factory=new_event_loop, loop="winloop."),
    Column("aiofastnet", "aiofastnet", factory=lambda module: module.loop_factory(), network="aiofastnet.", only_network=True),
    Column("aiofastnet-uvloop", "aiofastnet", factory=lambda module: module.loop_factory(importlib.import_module("uvloop").new_event_loop),
           loop="uvloop.Loop", network="aiofastnet.", only_network=True),
    Column("pyasync-loop", "pyasync", factory=new_event_loop, loop="pyasync.", future="pyasync.", task="pyasync."),
    Column("pyasync", "pyasync", as_asyncio="pyasync", loop="pyasync.", future="pyasync.", task="pyasync."),
)}

#: The pseudo-column of what C alone needs for the same work; only cases with a `floor` have it.
FLOOR = "floor"
#: Columns taken without being asked for.
DEFAULT = [name for name in COLUMNS if name != "pyasync-loop"]
#: Columns of this project: "the best other loop" is the best of the others.
OURS = {"pyasync", "pyasync-loop"}


def qualified(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


async def identify(column):
    """The classes really in use, by the running loop's own account; raises if they are not the column's."""
    async def nothing():
        pass
    asyncio = column.module()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(nothing())
    await task
    found = {"loop": qualified(type(loop)), "future": qualified(type(loop.create_future())), "task": qualified(type(task)),
             "sleep": f"{asyncio.sleep.__module__}.{asyncio.sleep.__name__}"}
    create_server = getattr(loop.create_server, "func", loop.create_server)     # aiofastnet puts a partial into the loop
    found["network"] = f"{getattr(create_server, '__module__', None) or qualified(type(loop))}.{create_server.__name__}"
    for what in ("loop", "future", "task", "network"):
        if not found[what].startswith(getattr(column, what)):
            raise RuntimeError(f"column {column.name}: the {what} is a {found[what]}, not a {getattr(column, what)}")
    return found
