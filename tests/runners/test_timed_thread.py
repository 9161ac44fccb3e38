"""Calls under a time limit: whoever waits goes on, whether or not the call listens."""

from __future__ import annotations

import threading
import time

import pytest

from rte_server.runners.timed_thread import END_S, TimedThread


def test_a_call_gives_back_what_it_gives_and_raises() -> None:
    """Also after one that raised."""
    thread = TimedThread("test")
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 // 0, 60.0)
    assert thread.run(lambda: 7, 60.0) == 7


def test_a_call_that_listens_is_asked_to_end_and_makes_way() -> None:
    """The next one is run."""
    thread, asked = TimedThread("test"), threading.Event()
    with pytest.raises(TimeoutError):
        thread.run(lambda: asked.wait(600.0), 0.05, asked.set)
    assert thread.run(lambda: 7, 60.0) == 7


def test_a_call_that_does_not_listen_holds_up_nobody() -> None:
    """Nothing is run beside it; when it has ended at last, the next one is."""
    thread, end = TimedThread("test"), threading.Event()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        thread.run(lambda: end.wait(600.0), 0.05)
    with pytest.raises(TimeoutError):
        thread.run(lambda: 7, 600.0)
    assert time.monotonic() - began < END_S + 60.0
    end.set()
    deadline = time.monotonic() + 60
    while True:
        try:
            assert thread.run(lambda: 7, 60.0) == 7
            return
        except TimeoutError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_abort_ends_the_wait_and_what_comes_later() -> None:
    """From another thread."""
    thread, asked = TimedThread("test"), threading.Event()
    threading.Timer(0.05, thread.abort).start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        thread.run(lambda: asked.wait(600.0), 600.0, asked.set)
    with pytest.raises(TimeoutError):
        thread.run(lambda: 7, 60.0)
    assert time.monotonic() - began < 60.0
