"""What is learned from how long attempts take."""

import pytest

from tifftockd import clock
from tifftockd.clock import SECOND
from tifftockd.executor.tempo import Tempo


def learned(*seconds, concurrency=4, silent=True):
    tempo = Tempo(concurrency)
    for one in seconds:
        tempo.ended(one, silent=silent)
    return tempo


@pytest.mark.parametrize(
    ("seconds", "running", "count"),
    [
        ([], [], 0),
        ([None], [], 0),
        ([0.0001], [], 4000),
        ([0.1], [], 40),
        ([0.1], [0.05] * 4, 40),
        ([0.1], [0.5] * 4, 8),
        ([0.1], [0.5] * 2, 24),
        ([0.1], [-0.05, 3.0], 30),
        ([0.1], [1.5] * 4, 0),
        ([2.0], [], 0),
        ([2.0], [0.1] * 4, 0),
        ([0.9], [0.1] * 4, 4),
        ([0.001, 0.9], [], 22),
    ],
)
def test_how_many_can_begin_within_a_second(seconds, running, count):
    """From what attempts took, and from those that have taken longer by now."""
    assert learned(*seconds).in_a_second(running) == count


@pytest.mark.parametrize(
    ("last", "silent", "quick"), [(0.019, True, True), (0.02, True, False), (0.001, False, False), (None, True, False)]
)
def test_what_quick_attempts_are(last, silent, quick):
    tempo = learned(*[0.001] * 99)
    assert not tempo.is_quick
    tempo.ended(last, silent=silent)
    assert tempo.is_quick == quick
    for _ in range(99):
        tempo.ended(0.001, silent=True)
    assert tempo.is_quick == quick, "so many in a row"
    tempo.spoiled()
    assert not tempo.is_quick


@pytest.mark.parametrize(
    ("late", "seconds", "counts"),
    [
        (SECOND, [0.05], [4, 8, 12]),
        (0, [0.05], [64, 128, 192]),
        (SECOND, [0.03], [64, 128, 192]),
        (SECOND, [], [64, 128, 192]),
    ],
)
def test_of_what_is_late_and_takes_long_few_begin_in_each_tick(monkeypatch, late, seconds, counts):
    instant, begun = 0.0, 0
    monkeypatch.setattr(clock, "monotonic", lambda: instant)
    tempo = learned(*seconds, concurrency=64)
    for count in counts:
        begun += sum(not tempo.is_crowded(late) for _ in range(64))
        assert begun == count
        instant += 0.002
