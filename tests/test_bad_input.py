"""What asyncio says to numbers that are no descriptors, times that are no numbers, objects without __init__ and loops that are closed."""
import asyncio
import gc

import pytest

from support import fresh_loop


class Fileno:
    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number


class Text(str):
    """Not to be interned, so that each has an identity of its own."""


class Unbelievable:
    """Has no truth, and is no number either."""

    def __bool__(self):
        raise ZeroDivisionError("bool")

    def __float__(self):
        raise ZeroDivisionError("float")


def outcome(function, *args):
    try:
        return type(function(*args)).__name__
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def value(function, *args):
    try:
        return repr(function(*args))
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


# --- descriptors -------------------------------------------------------------------------------------------------------

NUMBERS = [2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, 10**400, -1, -2**31 - 1, -2**63, -2**63 - 1, -10**400, True]
OBJECTS = [Fileno(number) for number in NUMBERS] + [Fileno(1.5), Fileno("1000000"), Fileno("x"), Fileno(None), 1.5, "x", None]


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("name", ["remove_reader", "remove_writer", "_remove_reader", "_remove_writer"])
def test_removing_what_is_no_descriptor(same, name, closed):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            if closed:
                loop.close()
            return [value(getattr(loop, name), obj) for obj in NUMBERS + OBJECTS if not hasattr(obj, "__dict__")] + \
                   [value(getattr(loop, name), obj) for obj in OBJECTS if hasattr(obj, "__dict__") and isinstance(obj.number, int)]
    same(scenario)


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("name", ["add_reader", "add_writer", "_add_reader", "_add_writer"])
def test_adding_what_is_no_descriptor(same, name, closed):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            if closed:
                loop.close()
            bad = [number for number in NUMBERS if number is not True]
            return [value(getattr(loop, name), obj, print) for obj in (*bad, *map(Fileno, bad), 1.5, "x", None)]
    same(scenario)


# --- times -------------------------------------------------------------------------------------------------------------

WHENS = [None, "x", object(), Unbelievable(), 1j, 10**400, -10**400, float("nan"), float("inf"), [1], True, 2**62]


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("name", ["call_at", "call_later"])
def test_a_closed_loop_comes_before_a_bad_time(same, name, debug):
    def scenario(aio):
        with fresh_loop(aio, debug=debug) as loop:
            loop.close()
            return [value(getattr(loop, name), when, print) for when in WHENS]
    same(scenario)


@pytest.mark.parametrize("when", WHENS, ids=lambda when: f"{type(when).__name__}")
@pytest.mark.parametrize("name", ["call_at", "call_later"])
def test_a_time_that_is_no_number(same, name, when):
    """Accepted as long as nobody compares it; then the tick raises what the comparison raises, and goes on once it is cancelled."""
    def scenario(aio):
        ran = []
        with fresh_loop(aio) as loop:
            try:
                timer = getattr(loop, name)(when, ran.append, 1)
            except (TypeError, OverflowError) as exc:
                return type(exc).__name__, str(exc)
            assert name == "call_later" or timer.when() is when
            seen = [type(timer.when()).__name__]
            loop.call_soon(loop.stop)
            seen.append(outcome(loop.run_forever))
            loop._stopping = False
            seen.append(bool(ran))
            timer.cancel()
            loop._scheduled.clear()   # asyncio keeps the cancelled one until its time, which never comes
            loop.call_soon(loop.stop)
            seen.append(outcome(loop.run_forever))
            return seen
    same(scenario)


@pytest.mark.parametrize("when", [10**400, "x", object(), Unbelievable()], ids=lambda when: type(when).__name__)
def test_a_time_that_cannot_be_compared_with_the_others(same, when):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            loop.call_later(60, print)
            return outcome(loop.call_at, when, print)
    same(scenario)


def test_a_huge_time_waits_behind_the_others(aio, loop):
    ran = []
    timer = loop.call_at(10**400, ran.append, "never")
    loop.call_at(loop.time(), ran.append, "now")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert ran == ["now"]
    timer.cancel()


# --- debug mode --------------------------------------------------------------------------------------------------------

def test_set_debug_takes_any_object(aio):
    loop = aio.new_event_loop()
    try:
        for given in (None, 0, 1, "", Text("x"), [], object()):
            loop.set_debug(given)
            assert loop.get_debug() is given and loop._debug is given
            ran = []
            loop.call_soon(ran.append, 1)
            loop.call_soon(loop.stop)
            loop.run_forever()
            assert ran == [1]
            handle = loop.call_soon(print)
            assert bool(handle._source_traceback) == bool(given)
            handle.cancel()
        given = None
    finally:
        loop.set_debug(False)
        loop.close()
    assert loop.get_debug() is False


def test_set_debug_without_a_truth(aio):
    """asyncio only notices when it looks, from then on everywhere; we at once, and nothing has changed."""
    loop = aio.new_event_loop()
    with pytest.raises(ZeroDivisionError, match="bool"):
        loop.set_debug(Unbelievable())
        loop.call_soon(print)
    if aio is not asyncio:
        assert loop.get_debug() is False
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.set_debug(False)
    loop.close()


# --- handles without __init__ ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fields", [{}, {"_cancelled": False}, {"_cancelled": True}, {"_cancelled": 1},
                                    {"_cancelled": Unbelievable()}, {"_cancelled": False, "_callback": print, "_args": ()}],
                         ids=lambda fields: "-".join(fields) or "empty")
@pytest.mark.parametrize("name", ["Handle", "TimerHandle"])
def test_a_handle_without_init(same, name, fields):
    def scenario(aio):
        cls = getattr(aio, name)
        with fresh_loop(aio) as loop:
            seen = []
            for with_loop in (False, True):
                for method in ("cancel", "cancelled", "_run", "__repr__", "get_context", "when", "_repr_info", "__hash__"):
                    if not hasattr(cls, method) or (method == "__hash__" and name == "Handle"):
                        continue
                    if method == "_run" and with_loop:   # reported; asyncio's own repr of such a handle fails in the log
                        continue
                    handle = cls.__new__(cls)
                    for field, content in fields.items():
                        setattr(handle, field, content)
                    if with_loop:
                        handle._loop = loop
                    text = value(getattr(handle, method))
                    seen.append((method, with_loop, text.rpartition(" object ")[2] if "attribute" in text else text.partition(" ")[0]))
            return seen
    same(scenario)


@pytest.mark.parametrize("name", ["Handle", "TimerHandle"])
def test_running_a_handle_without_init_on_a_loop(same, name):
    def scenario(aio):
        cls = getattr(aio, name)
        with fresh_loop(aio) as loop:
            handle = cls.__new__(cls)
            handle._loop = loop
            with pytest.raises(AttributeError, match="_callback"):
                handle._run()
            handle._callback, handle._args = print, ()
            with pytest.raises(AttributeError):
                handle._run()   # there is no _context; the report needs a _source_traceback
            return True
    same(scenario)


# --- a second __init__ -------------------------------------------------------------------------------------------------

def test_a_second_init_is_refused_and_changes_nothing():
    """asyncio's forgets its callbacks and leaves two sockets and a selector to the garbage collector."""
    aio = pytest.importorskip("pyasync")
    loop = aio.new_event_loop()
    ran = []
    loop.call_soon(ran.append, 1)
    loop.call_later(0, ran.append, 2)

    async def inside():
        with pytest.raises(RuntimeError, match="initialised before"):
            loop.__init__()
        assert loop.is_running()
        await aio.sleep(0.001)

    with pytest.raises(RuntimeError, match="initialised before"):
        loop.__init__()
    loop.run_until_complete(inside())
    assert ran == [1, 2]
    loop.close()


def test_init_of_a_closed_loop_opens_it_again(aio):
    loop = aio.new_event_loop()
    for _ in range(3):
        loop.run_until_complete(aio.sleep(0))
        loop.close()
        gc.collect()
        loop.__init__()
    loop.close()
