"""While others write to the store a pass does what takes a few milliseconds, on every machine."""

import pytest

from tifftockd.scheduler.portion import Portion


@pytest.mark.parametrize(
    ("each", "least", "most"),
    [(0.00001, 128, 128), (0.00007, 64, 64), (0.001, 16, 16)],
)
def test_it_grows_until_a_pass_takes_long(each, least, most):
    portion, taken = Portion(), []
    for _ in range(100):
        taken.append(portion.most)
        portion.took(portion.most, portion.most * each, 0.001)
    assert taken[0] == 16
    assert (min(taken[50:]), max(taken[50:])) == (least, most)


def test_it_shrinks_when_the_machine_slows_down():
    portion = Portion()
    for _ in range(10):
        portion.took(128, 0.001, 0.001)
    assert portion.most == 128
    for most in (64, 32, 16, 16):
        portion.took(1, 0.1, 0.001)
        assert portion.most == most


@pytest.mark.parametrize(("each", "most"), [(0.0004, 32), (0.00005, 128), (0.002, 16)])
def test_where_the_disk_is_slow_a_pass_may_take_as_long(each, most):
    portion = Portion()
    for _ in range(10):
        portion.took(portion.most, portion.most * each, 0.020)
    assert portion.most == most


def test_what_little_there_was_tells_nothing():
    portion = Portion()
    portion.took(15, 0.001, 0.001)
    assert portion.most == 16
    portion.took(16, 0.001, 0.001)
    assert portion.most == 32
