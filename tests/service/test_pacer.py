"""Work is kept to a share of a core by pauses between its steps."""

from __future__ import annotations

from rte_server.service.pacer import Pacer


class Worker:
    """A thread whose work and rests are numbers."""

    def __init__(self) -> None:
        self.worked_s = 100.0
        self.rests: list[float] = []

    def rest(self, seconds: float) -> None:
        """Note a rest. To begin and end it is a little work, too."""
        self.rests.append(seconds)
        self.worked_s += 0.125


def test_rests_are_in_proportion_to_the_work_between_them() -> None:
    """A quarter of a core: three times as long as was worked. What was done before `begin`, or to rest, does not count."""
    worker = Worker()
    pacer = Pacer(0.25, lambda: worker.worked_s, worker.rest)
    pacer.begin()
    for step_s in (1.0, 0.0, 2.0):
        worker.worked_s += step_s
        pacer.pause()
    worker.worked_s += 50.0
    pacer.begin()
    worker.worked_s += 4.0
    pacer.pause()
    assert worker.rests == [3.0, 0.0, 6.0, 12.0]


def test_a_whole_core_needs_no_rest() -> None:
    """A share of 1 is work without pauses."""
    worker = Worker()
    pacer = Pacer(1.0, lambda: worker.worked_s, worker.rest)
    pacer.begin()
    worker.worked_s += 7.0
    pacer.pause()
    assert worker.rests == [0.0]
