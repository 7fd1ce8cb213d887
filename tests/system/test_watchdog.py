"""A daemon that is alive and does not work is restarted."""

import time

import pytest

from tests.daemon import wait_until
from tests.system.service import UNIT

SPAN = 3


@pytest.mark.parametrize("thread", ["scheduler", "executor", "server"])
def test_a_stopped_thread_means_a_restart_and_nothing_is_lost(service, thread):
    service.override(f"WatchdogSec={SPAN}s")
    service.restart()
    waiting = service.remind(**{"in": "1h"})
    due = service.remind(**{"in": "2s"})
    with service.held(thread):
        service.wait_for_restart()
    assert "Watchdog timeout" in service.journal(f"--unit={UNIT}")
    assert service.state(waiting) == "pending"
    # While the executor's thread is held it may have been claimed: then it was interrupted first.
    wait_until(lambda: service.history(due)[-1:] and service.history(due)[-1]["outcome"] == "delivered", "its delivery")


@pytest.mark.parametrize("span", ["500ms", "5s"])
def test_a_healthy_daemon_is_left_alone_whatever_the_span(service, span):
    service.override(f"WatchdogSec={span}")
    service.restart()
    pid = service.pid
    for _ in range(6):
        service.outcome(service.remind())
        time.sleep(1)
    assert service.pid == pid
    assert service.restarts == 0
    assert "Watchdog" not in service.journal(f"--unit={UNIT}")
