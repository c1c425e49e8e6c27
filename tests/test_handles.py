"""Handle, TimerHandle and the timers of the loop."""
import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import inspect
import math
import random
import signal
import threading
import time
import weakref

import pytest

from support import PY, Errors, callback, fresh_loop, outcome, plain, report, scrub, spin, spin_until


# --- Handle ------------------------------------------------------------------------------------------------------------

def test_call_soon_returns_a_handle(aio, loop):
    h = loop.call_soon(callback, 1, 2)
    assert isinstance(h, asyncio.Handle) and isinstance(h, aio.Handle) and not isinstance(h, asyncio.TimerHandle)
    assert h._callback is callback and h._args == (1, 2) and h._cancelled is False and h._loop is loop and h._repr is None
    assert h._source_traceback is None and isinstance(h._context, contextvars.Context)
    assert h.cancelled() is False
    spin(loop)


def test_threadsafe_returns_a_handle(aio, loop):
    h = loop.call_soon_threadsafe(callback, 1)
    assert isinstance(h, asyncio.Handle) and isinstance(h, aio.Handle) and h._callback is callback
    assert h.cancel() is None and h.cancelled()
    spin(loop)


def test_every_attribute_of_asyncios_handles_is_there(aio):
    for name in ("Handle", "TimerHandle"):
        assert set(dir(getattr(asyncio, name))) <= set(dir(getattr(aio, name)))


def test_handle_made_by_hand(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen, context = [], contextvars.Context()
            h = aio.Handle(seen.append, (1,), loop)
            g = aio.Handle(seen.append, (2,), loop, context)
            k = aio.Handle(seen.append, [3], loop, context=context)
            found = [outcome(x._run) for x in (h, g, k, h)]
            found += [seen, g._context is context, outcome(aio.Handle, text=False), outcome(aio.Handle, callback, (), text=False),
                      outcome(aio.Handle, callback, (), 5)]
            loop._add_callback(h)
            spin(loop)
            t = aio.TimerHandle(5.0, callback, (), loop)
            found += [seen, t.when(), t._when, t._scheduled, scrub(repr(t)), outcome(aio.TimerHandle, text=False)]
            t.cancel()
            if hasattr(h, "get_context"):
                found.append(g.get_context() is context)
            return found
    same(scenario)


def test_cancel(aio, loop):
    seen = []
    h = loop.call_soon(seen.append, 1)
    assert h.cancel() is None and h.cancelled() and h._cancelled and h._callback is None and h._args is None
    h.cancel()
    spin(loop, 2)
    assert seen == []


def test_cancel_from_an_earlier_callback_and_from_itself(aio, loop):
    seen = []
    loop.call_soon(lambda: later.cancel())
    later = loop.call_soon(seen.append, "later")

    def own():
        seen.append("own")
        me.cancel()
    me = loop.call_soon(own)
    loop.call_soon(lambda: done.cancel())
    done = me
    spin(loop, 2)
    assert seen == ["own"] and me.cancelled() and me._callback is None


def test_cancel_drops_the_references(aio, loop):
    class Token:
        def __call__(self, arg):
            pass
    a, b = Token(), Token()
    refs = weakref.ref(a), weakref.ref(b)
    for make in (loop.call_soon, functools.partial(loop.call_later, 100), loop.call_soon_threadsafe):
        a, b = Token(), Token()
        refs = weakref.ref(a), weakref.ref(b)
        h = make(a, b)
        del a, b
        gc.collect()
        assert refs[0]() is not None and refs[1]() is not None
        h.cancel()
        gc.collect()
        assert refs[0]() is None and refs[1]() is None
    spin(loop)


def test_running_drops_the_references(aio, loop):
    class Token:
        def __call__(self, arg):
            pass
    a = Token()
    ref = weakref.ref(a)
    loop.call_soon(a, a)
    loop.call_later(0, a, a)
    del a
    spin_until(loop, lambda: ref() is None)


@pytest.mark.parametrize("debug", [False, True])
def test_repr(same, debug):
    def scenario(aio):
        with fresh_loop(aio, debug=debug) as loop:
            class C:
                def method(self, *args):
                    pass

                def __call__(self):
                    pass

                def __repr__(self):
                    return "<C>"
            found = []
            for cb in (callback, C().method, C(), functools.partial(callback, 1, k=2), print, lambda: None,
                       functools.partial(functools.partial(callback, 1), 2), loop.stop, C, functools.partialmethod(callback)):
                if not callable(cb):
                    continue
                for args in ((), (1, "x" * 100)):
                    for h in (loop.call_soon(cb, *args), loop.call_at(loop.time() + 100, cb, *args)):
                        first = repr(h)
                        h.cancel()
                        found.append([first, repr(h)])
            return plain(found)
    same(scenario)


def test_repr_in_words(aio, loop):
    where = f"{callback.__code__.co_filename}:{callback.__code__.co_firstlineno}"
    h = loop.call_soon(callback)
    assert repr(h) == f"<Handle callback() at {where}>"
    h.cancel()
    assert repr(h) == "<Handle cancelled>"
    t = loop.call_at(12345.5, callback)
    assert repr(t) == f"<TimerHandle when=12345.5 callback() at {where}>"
    t.cancel()
    assert repr(t) == "<TimerHandle cancelled when=12345.5>"


def test_repr_after_cancel_in_debug_remembers(aio, loop):
    loop.set_debug(True)
    h = loop.call_soon(callback, 1)
    before = repr(h)
    h.cancel()
    assert repr(h).startswith("<Handle cancelled callback(") and "created at" in before and h._repr == repr(h)


def test_source_traceback(aio, loop):
    loop.set_debug(True)
    handles = [loop.call_soon(callback), loop.call_later(100, callback), loop.call_at(loop.time() + 100, callback),
               loop.call_soon_threadsafe(callback), aio.Handle(callback, (), loop)]
    line = inspect.currentframe().f_lineno - 1
    for h in handles:
        frame = h._source_traceback[-1]
        assert frame.filename == __file__ and line - 1 <= frame.lineno <= line
        assert frame.name == "test_source_traceback"
        h.cancel()


def test_attribute_assignment_follows_asyncio(same):
    """asyncio's handles are Python objects: their slots can be assigned, new names cannot."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = {}
            for timer in (False, True):
                for name in ("_callback", "_args", "_cancelled", "_loop", "_source_traceback", "_repr", "_context", "new"):
                    h = loop.call_later(100, callback) if timer else aio.Handle(callback, (), loop)
                    old = getattr(h, name, None)
                    found[timer, name] = [outcome(setattr, h, name, None, text=False), getattr(h, name, "missing") is None]
                    if found[timer, name][0][0] == "returned":
                        setattr(h, name, old)
                    h.cancel()
            return found
    same(scenario)


def test_assigning_the_callback(aio, loop):
    """Some tools replace _callback or _args of a handle that waits in the queue."""
    seen = []
    h = loop.call_soon(callback)
    h._callback, h._args = seen.append, ("replaced",)
    g = loop.call_soon(seen.append, "cancelled by assignment")
    g._cancelled = True
    t = loop.call_later(0, callback)
    t._callback, t._args = seen.append, ("timer",)
    spin_until(loop, lambda: "timer" in seen)
    assert sorted(seen) == ["replaced", "timer"]


def test_weakref_and_hash(aio, loop):
    h = loop.call_soon(callback)
    ref = weakref.ref(h)
    assert len({h, h}) == 1
    spin(loop)
    del h
    assert ref() is None


def test_run_overridden_in_a_subclass(aio, loop):
    class H(aio.Handle):
        def _run(self):
            seen.append("mine")
            super()._run()
    seen = []
    h = H(seen.append, ("called",), loop)
    loop._add_callback(h)
    spin(loop)
    assert seen == ["mine", "called"]


def test_subclass_with_attributes(aio, loop):
    class H(aio.Handle):
        def __init__(self, *args, tag):
            super().__init__(*args)
            self.tag = tag

    class T(aio.TimerHandle):
        __slots__ = ("tag",)
    assert H(callback, (), loop, tag=5).tag == 5
    t = T(1.0, callback, (), loop)
    t.tag = 1
    assert t.tag == 1 and t.when() == 1.0


@pytest.mark.parametrize("exc", [ValueError("v"), asyncio.CancelledError("c"), GeneratorExit("g"), type("B", (BaseException,), {})("b")])
def test_callback_that_raises(same, exc):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            def broken(*args):
                raise exc
            h = loop.call_soon(broken, 1, 2)
            spin(loop)
            context = errors.take_one()
            assert context["handle"] is h and context["exception"] is exc
            loop.set_debug(True)
            loop.call_soon(broken)
            spin(loop)
            return [report(context), report(errors.take_one())]
    same(scenario)


@pytest.mark.parametrize("exc", [KeyboardInterrupt("k"), SystemExit(2)])
def test_callback_that_interrupts(aio, loop, exc):
    seen = []

    def broken():
        raise exc
    loop.call_soon(seen.append, 1)
    loop.call_soon(broken)
    loop.call_soon(seen.append, 2)
    with pytest.raises(type(exc)) as info:
        spin(loop)
    assert info.value is exc and seen == [1] and not loop.is_running()
    spin(loop)
    assert seen == [1, 2]


def test_contexts(aio, loop):
    var, seen = contextvars.ContextVar("var", default=0), []
    given = contextvars.Context()
    var.set(1)

    def note():
        seen.append(var.get())
        var.set(100)
    for make in (loop.call_soon, functools.partial(loop.call_at, 0), loop.call_soon_threadsafe):
        make(note)
        h = make(note, context=given)
        assert h._context is given
        if hasattr(asyncio.Handle, "get_context"):
            assert h.get_context() is given
    var.set(2)
    spin(loop, 3)
    assert sorted(seen) == [0, 1, 1, 1, 100, 100] and var.get() == 2 and given[var] == 100


# --- TimerHandle -------------------------------------------------------------------------------------------------------

def test_timer(aio, loop):
    before = loop.time()
    t = loop.call_later(5, callback, 1)
    assert isinstance(t, asyncio.TimerHandle) and isinstance(t, aio.TimerHandle) and isinstance(t, aio.Handle)
    assert before + 5 <= t.when() <= loop.time() + 5 and t._when == t.when() and t._scheduled is True
    assert t._callback is callback and t._args == (1,)
    t.cancel()
    assert t.cancelled()
    t = loop.call_at(before, callback)
    assert t.when() == before
    spin(loop)
    assert t._scheduled is False


def test_when_is_what_was_given(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []
            for when in (10**9, 10**9 + 0.5, True, 2.0**53, math.inf):
                t = loop.call_at(when, callback)
                found.append([repr(t.when()), repr(t._when)])
                t.cancel()
            return found
    same(scenario)


def test_argument_errors(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = [outcome(loop.call_later, None, callback), outcome(loop.call_at, None, callback),
                     outcome(loop.call_later, "x", callback, text=False), outcome(loop.call_soon, text=False),
                     outcome(loop.call_later, text=False), outcome(loop.call_later, 1, text=False),
                     outcome(loop.call_at, 1, text=False), outcome(loop.call_soon_threadsafe, text=False),
                     outcome(loop.call_soon, callback, other=5, text=False), outcome(loop.call_later, 1, callback, other=5, text=False)]
            return found
    same(scenario)


def test_context_that_is_none_of_a_context(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            loop.call_soon(callback, context="bad")
            return [outcome(spin, loop), [report(c) for c in errors.take()]]
    same(scenario)


def test_comparison(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            make = lambda when, cb=callback, args=(): aio.TimerHandle(when, cb, args, loop)
            a, b, c, d = make(1.0), make(2.0), make(1.0), make(1.0, print, (1,))
            found = []
            for x in (a, b, c, d):
                for y in (a, b, c, d):
                    found.append([x < y, x <= y, x > y, x >= y, x == y, x != y])
            c.cancel()
            found.append([a == c, a <= c, a >= c, c == c])
            found += [outcome(lambda: a < 5, text=False), a == 5, a != 5, hash(a) == hash(1.0),
                      a.__lt__(5) is NotImplemented, a.__eq__(5) is NotImplemented]
            h = aio.Handle(callback, (), loop)
            return found + [outcome(lambda: h < h, text=False), h == h, h == aio.Handle(callback, (), loop)]
    same(scenario)


def test_comparison_with_the_other_kind(aio, loop):
    a, b = aio.TimerHandle(1.0, callback, (), loop), asyncio.TimerHandle(2.0, callback, (), loop)
    assert a < b and b > a and a != b and a <= b and not a >= b
    assert aio.TimerHandle(2.0, callback, (), loop) == b


def test_order_of_times(aio, loop):
    seen, now = [], loop.time()
    delays = [i / 1000 for i in range(30)]
    random.Random(5).shuffle(delays)
    for d in delays:
        loop.call_at(now + d, seen.append, d)
    spin_until(loop, lambda: len(seen) == len(delays))
    assert seen == sorted(delays)


def test_equal_times_run_first_come_first_served(aio, loop):
    """asyncio's heap does not promise it, pyasync does."""
    seen, when = [], loop.time() + 0.01
    n = 1 if aio is asyncio else 100
    for i in range(n):
        loop.call_at(when, seen.append, i)
    spin_until(loop, lambda: len(seen) == n)
    assert seen == list(range(n))


def test_timers_run_after_what_is_ready(same):
    """A due timer joins the queue behind what was ready when the tick began."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen, past = [], loop.time() - 10
            loop.call_at(past, seen.append, "timer 1")
            loop.call_soon(seen.append, "soon 1")
            loop.call_at(past - 1, seen.append, "timer 0")
            loop.call_soon(lambda: (seen.append("soon 2"), loop.call_at(past, seen.append, "timer from a callback"),
                                    loop.call_soon(seen.append, "soon from a callback")))
            spin(loop)
            first = list(seen)
            spin(loop)
            return [first, seen]
    same(scenario)


@pytest.mark.parametrize("delay", [0, 0.0, False, -1, -0.5, -1e9, 1e-9, -math.inf])
def test_past_and_zero_delays_run_in_the_next_tick(aio, loop, delay):
    seen = []
    loop.call_later(delay, seen.append, 1)
    assert seen == []
    time.sleep(0.001)
    spin(loop)
    assert seen == [1]


@pytest.mark.parametrize("delay", [1e6, 1e9, 1e15, 1e300, math.inf, 10**30])
def test_huge_delays(aio, loop, delay):
    seen = []
    t = loop.call_later(delay, seen.append, "never")
    loop.call_later(0.01, seen.append, "soon")
    spin_until(loop, lambda: seen)
    assert seen == ["soon"] and not t.cancelled()
    t.cancel()


def test_nan(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []
            t = loop.call_at(math.nan, seen.append, 1)
            t.cancel()
            spin(loop)
            return [seen, repr(t)]
    same(scenario)


def test_never_early(aio, loop):
    """Neither by the loop's clock nor by the system's (uvloop #739)."""
    early = []

    def check(when, mono):
        # asyncio itself allows the clock's resolution, a nanosecond here
        if loop.time() < when - 2e-9 or time.monotonic() < mono - 2e-9:
            early.append((loop.time() - when, time.monotonic() - mono))
        ran.append(1)
    ran, rng = [], random.Random(3)
    for _ in range(60):
        d = rng.choice((0.0001, 0.0005, 0.001, 0.0015, 0.003, 0.01, 0.0123456))
        loop.call_later(d, check, loop.time() + d, time.monotonic() + d)
    spin_until(loop, lambda: len(ran) == 60)
    assert early == []


def test_not_late(aio, loop):
    start = time.monotonic()
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert 0.0199 <= time.monotonic() - start < 0.5


def test_sub_millisecond_delays_are_kept(aio, loop):
    """The poll must not round up to whole milliseconds by much, nor spin through the wait."""
    start, cpu = time.monotonic(), time.process_time()
    for _ in range(50):
        loop.call_later(0.0002, loop.stop)
        loop.run_forever()
    elapsed = time.monotonic() - start
    assert elapsed >= 50 * 0.0002 and elapsed < 1.0
    assert time.process_time() - cpu < 0.5


def test_ten_thousand_timers(aio, loop):
    rng, seen, now = random.Random(1), [], loop.time()
    kept, cancelled = [], 0
    for i in range(10_000):
        when = now + rng.random() * 0.05
        t = loop.call_at(when, seen.append, when)
        if rng.random() < 0.5:
            kept.append(when)
        else:
            t.cancel()
            cancelled += 1
    assert cancelled > 4000
    spin_until(loop, lambda: len(seen) >= len(kept))
    assert seen == sorted(kept)


def test_cancel_in_a_callback(aio, loop):
    seen, past = [], loop.time() - 1
    timers = []

    def first():
        seen.append("first")
        for t in timers[1:]:
            t.cancel()
    timers.append(loop.call_at(past - 1, first))
    timers += [loop.call_at(past, seen.append, i) for i in range(3)]
    timers.append(loop.call_later(0.01, seen.append, "later"))
    loop.call_later(0.03, seen.append, "end")
    spin_until(loop, lambda: "end" in seen)
    assert seen == ["first", "end"]


def test_a_timer_cancels_itself_and_is_cancelled_after_running(aio, loop):
    seen = []

    def own():
        seen.append(1)
        t.cancel()
    t = loop.call_later(0, own)
    spin_until(loop, lambda: seen)
    assert t.cancelled()
    t.cancel()
    u = loop.call_later(0, seen.append, 2)
    spin_until(loop, lambda: len(seen) == 2)
    u.cancel()
    u.cancel()
    spin(loop)


def test_rescheduling_many_times(aio, loop):
    """A timeout that is pushed back all the time does not grow the heap for ever."""
    t = None
    for _ in range(5000):
        if t is not None:
            t.cancel()
        t = loop.call_later(1000, callback)
        if _ % 100 == 0:
            spin(loop)
    spin(loop)
    assert len(loop._scheduled) <= 200
    t.cancel()


def test_a_cancelled_timer_does_not_wake_the_loop(aio, loop):
    seen = []
    loop.call_later(0.001, seen.append, 1).cancel()
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert seen == []


def test_scheduled_as_asyncio_shows_it(aio, loop):
    assert list(loop._scheduled) == []
    a, b = loop.call_later(100, callback), loop.call_later(50, callback)
    assert set(loop._scheduled) == {a, b} and len(loop._scheduled) == 2 and a in loop._scheduled
    assert sorted(loop._scheduled)[0] is b and loop._scheduled[0] is b
    a.cancel()
    b.cancel()
    spin(loop)
    assert list(loop._scheduled) == []


def test_ready_as_asyncio_shows_it(aio, loop):
    assert len(loop._ready) == 0
    h = loop.call_soon(callback)
    assert len(loop._ready) == 1 and list(loop._ready) == [h] and loop._ready[0] is h
    spin(loop)
    assert len(loop._ready) == 0 and not loop._ready


def test_timer_callback_that_raises(aio, loop, errors):
    seen = []
    t = loop.call_later(0, lambda: 1 / 0)
    loop.call_later(0, seen.append, 1)
    spin_until(loop, lambda: seen)
    context = errors.take_one()
    assert context["handle"] is t and isinstance(context["exception"], ZeroDivisionError)


def test_dropping_timers_with_the_loop(aio, errors):
    class Token:
        def __call__(self):
            pass
    loop, token = aio.new_event_loop(), Token()
    ref = weakref.ref(token)
    loop.call_later(100, token)
    loop.call_soon(token)
    del token
    loop.close()
    gc.collect()
    assert ref() is None


def test_cancel_after_close(aio):
    loop = aio.new_event_loop()
    t, h = loop.call_later(100, callback), loop.call_soon(callback)
    loop.close()
    t.cancel()
    h.cancel()
    assert t.cancelled() and h.cancelled()


def test_a_replaced_clock(aio, loop):
    """loop.time() is the only clock: with a frozen one nothing expires, and it may jump."""
    now, seen = [1000.0], []
    loop.time = lambda: now[0]
    loop.call_later(5, seen.append, "five")
    loop.call_later(10, seen.append, "ten")
    loop.call_at(1002, seen.append, "two")
    assert loop.time() == 1000.0
    loop.call_soon(lambda: now.__setitem__(0, 1006.0))
    for _ in range(4):
        spin(loop)
    assert seen == ["two", "five"]
    now[0] = 2000.0
    spin(loop)
    assert seen == ["two", "five", "ten"]
    del loop.time
    assert abs(loop.time() - time.monotonic()) < 1
    loop.call_later(0.001, seen.append, "real")
    spin_until(loop, lambda: "real" in seen)


def test_a_clock_in_a_subclass(aio):
    class Fast(loop_class(aio)):
        speed = 1000

        def time(self):
            return super().time() * self.speed
    loop = Fast()
    try:
        start = time.monotonic()
        loop.call_later(10, loop.stop)
        # what is left to sleep is computed in the loop's seconds: it sleeps up to ten real ones unless woken
        for _ in range(100):
            loop.call_soon_threadsafe(callback)
        loop.call_soon(lambda: time.sleep(0.011))
        loop.run_forever()
        assert time.monotonic() - start < 5
    finally:
        loop.close()


def loop_class(aio):
    loop = aio.new_event_loop()
    loop.close()
    return type(loop)


# --- handles that other threads cancel (from 3.14 on they wait for a running callback; before, nothing waits) ------------------

needs_waiting = pytest.mark.skipif(PY < (3, 14), reason="handles of older versions wait for nothing")


@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_a_handle_that_runs_makes_other_threads_wait(same, method):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            started, finished = threading.Event(), threading.Event()

            def callback():
                started.set()
                time.sleep(0.1)
                finished.set()

            def other():
                handle = loop.call_soon_threadsafe(callback)
                assert started.wait(10)
                results = [getattr(handle, method)() for _ in range(2)]
                after = finished.is_set()
                finished.wait(10)
                loop.call_soon_threadsafe(loop.stop)
                return results, after, handle.cancelled()
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                future = pool.submit(other)
                loop.run_forever()
                return future.result()
    results, after, cancelled = same(scenario)
    assert after is (PY >= (3, 14))


@needs_waiting
def test_a_handle_cancels_itself_while_others_wait(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            started, asked, handles, seen = threading.Event(), threading.Event(), [], []

            def callback():
                started.set()
                asked.wait(10)
                time.sleep(0.05)
                handles[0].cancel()                          # its own thread does not wait
                seen.append(handles[0].cancelled())
                handles[0]._run()                            # and gets through a second time: it is cancelled
                seen.append("end")

            def other():
                started.wait(10)
                asked.set()
                return handles[0].cancelled()
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                handles.append(loop.call_soon_threadsafe(callback))
                futures = [pool.submit(other) for _ in range(3)]
                spin(loop, 2)
                return seen, [future.result() for future in futures], repr(handles[0])[:18]
    assert same(scenario)[1] == [True] * 3


def test_a_callback_that_raises_lets_the_others_go_on(same):
    def scenario(aio):
        with fresh_loop(aio, errors := Errors()) as loop:
            started = threading.Event()

            def callback():
                started.set()
                time.sleep(0.05)
                raise ValueError("from the callback")

            def other():
                handle = loop.call_soon_threadsafe(callback)
                started.wait(10)
                result = handle.cancel(), handle.cancelled()
                loop.call_soon_threadsafe(loop.stop)
                return result
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                future = pool.submit(other)
                loop.run_forever()
                return future.result(), plain(errors.take_one()["exception"])
    same(scenario)


@needs_waiting
def test_a_signal_ends_the_wait(same):
    class Alarm(Exception):
        pass

    def scenario(aio):
        def alarm(*_):
            raise Alarm
        with fresh_loop(aio) as loop:
            started, go = threading.Event(), threading.Event()

            def callback():
                started.set()
                go.wait(10)
                loop.stop()
            thread = threading.Thread(target=loop.run_forever)
            thread.start()
            handle = loop.call_soon_threadsafe(callback)
            assert started.wait(10)
            before = signal.signal(signal.SIGALRM, alarm)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                handle.cancel()
                result = "cancelled"
            except Alarm:
                result = "raised"
            finally:
                go.set()
                thread.join()
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            return result
    assert same(scenario) == "raised"


def test_a_callback_that_turns_debug_mode_on_and_fails(same):
    """Its handle is older than debug mode and knows no source."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []
            loop.set_exception_handler(lambda _, context: seen.append([sorted(context), context["handle"]._source_traceback]))

            def fail():
                loop.set_debug(True)
                raise ValueError
            loop.call_soon(fail)
            spin(loop)
            loop.set_debug(False)
            return seen
    same(scenario)
