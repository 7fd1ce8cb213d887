"""`systemctl reload`: new drop-ins and settings, and what is wrong with them."""

import subprocess

import pytest

from tests.daemon import wait_until
from tests.system.service import UNIT

LAMP = """
from tifftockd import RemindProcess

class Lamp(RemindProcess):
    method = "lamp{number}"

    def remind(self, message):
        print("on")
"""


def test_a_new_dropin_is_there_when_reload_returns(service):
    pid = service.pid
    for number in range(5):
        service.dropin(f"lamp{number}.py", LAMP.format(number=number))
        service.reload()
        made = service.remind(method=f"lamp{number}")
        assert service.outcome(made)["output"] == "on\n"
    assert service.pid == pid


def test_reload_does_not_return_before_it_is_done(service):
    service.dropin("lamp.py", LAMP.format(number=1))
    # The thread that waits for signals
    with service.held("main"):
        reload = service.machine.start("systemctl", "reload", UNIT)
        with pytest.raises(subprocess.TimeoutExpired):
            reload.wait(1)
    assert reload.wait(30) == 0
    assert "lamp1" in [method["method"] for method in service.get("/handlers")["methods"]]


def test_a_broken_dropin_is_reported_and_harms_nothing_else(service):
    service.dropin("broken.py", "from tifftockd import\n")
    service.dropin("writable.py", LAMP.format(number=1), mode="0666")
    service.dropin("strangers.py", LAMP.format(number=2), owner="ann:ann")
    service.reload()
    reasons = {failure["file"].rpartition("/")[2]: failure["error"] for failure in service.get("/handlers")["failures"]}
    assert set(reasons) == {"broken.py", "writable.py", "strangers.py"}
    assert "line 1" in reasons["broken.py"]
    assert "chmod go-w" in reasons["writable.py"]
    assert "chown" in reasons["strangers.py"]
    assert service.output("print('still here')") == "still here"
    log = str(service.events("TIFFTOCK_EVENT=dropin-failed"))
    status = service.systemctl("status", "tifftockd").stdout
    for name in reasons:
        assert name in log
        assert name in status
    assert service.is_active()


def test_a_broken_dropin_does_not_stop_the_start(service):
    service.dropin("broken.py", "import sys; sys.exit(1)\n")
    service.restart()
    assert service.output("print('still here')") == "still here"
    assert "broken.py" in service.systemctl("status", "tifftockd").stdout


def test_new_settings_count_after_a_reload_and_bad_ones_keep_the_old(service):
    service.set(RETRIES=7)
    service.reload()
    wait_until(lambda: service.remind()["retries"] == 7, "the new setting")
    service.set(RETRIES=8, MAX_LATE="soon")
    service.reload()
    wait_until(lambda: "MAX_LATE" in service.show("StatusText"), "the reason in the status")
    assert service.remind()["retries"] == 7
    assert "MAX_LATE" in service.events("TIFFTOCK_EVENT=reload-failed")[-1]["MESSAGE"]
    assert service.is_active()
