"""What the journal and `systemctl status` say."""

import json

from tests.daemon import wait_until
from tifftockd.journal.ids import MESSAGE_IDS


def test_the_life_of_one_reminder_can_be_asked_for(service):
    for _ in range(6):
        service.remind(**{"in": "1h"})
    made = service.act("a private matter", fail=True)
    assert made["id"] == 7
    service.outcome(made)
    service.request("PATCH", "/reminder/7", {"options": {}})
    service.outcome(made, 2)
    wait_until(lambda: service.events("TIFFTOCK_REMINDER=7", "TIFFTOCK_EVENT=delivered"), "the last line")
    events = service.events("TIFFTOCK_REMINDER=7")
    # Each is written by who did it, so that close ones may change places.
    assert {event["TIFFTOCK_EVENT"] for event in events} == {"created", "failed", "changed", "delivered"}
    for event in events:
        assert event["MESSAGE_ID"] == MESSAGE_IDS[event["TIFFTOCK_EVENT"]]
        assert event["_SYSTEMD_UNIT"] == "tifftockd.service"
        assert event["SYSLOG_IDENTIFIER"] == "tifftockd"
        assert event["TIFFTOCK_METHOD"] == "act"
        assert "a private matter" not in json.dumps(event)
    assert [event["TIFFTOCK_REMINDER"] for event in service.events(f"MESSAGE_ID={MESSAGE_IDS['delivered']}")] == ["7"]


def test_what_the_log_method_writes_is_in_the_journal(service):
    made = service.remind(message="tea is ready\nand hot", to="kitchen")
    service.outcome(made)
    [event] = service.events("TIFFTOCK_EVENT=reminder")
    assert event["TIFFTOCK_MESSAGE"] == "tea is ready\nand hot"
    assert event["TIFFTOCK_TO"] == "kitchen"
    assert event["TIFFTOCK_REMINDER"] == str(made["id"])
    assert event["_SYSTEMD_UNIT"] == "tifftockd.service"


def test_status_says_in_a_line_what_it_is_doing(service):
    wait_until(lambda: service.show("StatusText").startswith("0 pending"), "an empty store in the status")
    service.dropin("email.py", "from tifftockd import RemindProcess\nclass Email(RemindProcess):\n method = 'email'\n"
                               " def remind(self, message): pass\n")  # fmt: skip
    service.reload()
    service.outcome(service.act(fail=True))
    service.remind(method="email", **{"in": "2h 14min 30s"})
    for _ in range(2):
        service.remind(**{"in": "5h"})
    wanted = "3 pending, next in 2h 14min (email), 1 failed"
    wait_until(lambda: service.show("StatusText") == wanted, f"{wanted!r}, not {service.show('StatusText')!r}", 5)
    assert f'Status: "{wanted}"' in service.systemctl("status", "tifftockd").stdout
