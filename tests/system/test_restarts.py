"""What a stop, a restart, a kill and a power cut leave: everything."""

import threading
import time

from tests.daemon import wait_until
from tests.system.service import UNIT

HOUR = {"in": "1h"}


class Client(threading.Thread):
    """Creates reminders without a pause, until `stop`: those that were acknowledged, and what went wrong."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service = service
        self.made = []
        self.errors = []
        self.off = threading.Event()

    def run(self):
        while not self.off.is_set():
            try:
                # Some are due at once, and running while the daemon is stopped.
                soon = len(self.made) % 100 == 0
                self.made.append(self.service.remind(**({"in": 0} if soon else HOUR)))
            except Exception as error:
                self.errors.append(f"{time.time():.3f} {type(error).__name__}: {error}")
                if len(self.errors) > 10:
                    return

    def stop(self):
        self.off.set()
        self.join(60)


def pages(service, path):
    """A whole list, page by page."""
    while path:
        answer = service.request("GET", path)
        assert answer.status == 200, answer
        yield from answer.json
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")


def lost(service, made):
    """The ids that are neither stored nor in the history."""
    stored = {one["id"] for one in pages(service, "/reminders?state=all")}
    ended = {one["reminder"] for one in pages(service, "/history?limit=10000")}
    return {one["id"] for one in made} - stored - ended


def test_a_reminder_fires_in_time(service):
    made = service.remind(**{"in": "1s"})
    entry = service.outcome(made)
    assert entry["outcome"] == "delivered"
    assert 0 <= entry["late_ms"] < 1000


def test_what_falls_due_while_it_is_stopped_fires_after_the_start(service):
    made = service.remind(**{"in": "1s"})
    service.stop()
    time.sleep(1.2)
    assert not service.is_active()
    service.start()
    entry = service.outcome(made)
    assert entry["outcome"] == "delivered"
    assert entry["late_ms"] > 100


def test_twenty_restarts_refuse_no_client_and_lose_nothing(service):
    clients = [Client(service) for _ in range(3)]
    for client in clients:
        client.start()
    for _ in range(20):
        before = [len(client.made) for client in clients]
        service.restart()
        for client, count in zip(clients, before, strict=True):
            wait_until(
                lambda client=client, count=count: len(client.made) > count or client.errors, "an answer to each"
            )
    for client in clients:
        client.stop()
    assert [error for client in clients for error in client.errors] == []
    assert lost(service, [one for client in clients for one in client.made]) == set()
    for one in (one for client in clients for one in client.made[::100]):
        wait_until(lambda one=one: any(e["outcome"] == "delivered" for e in service.history(one)), "its delivery")


def test_a_stop_waits_for_the_last_attempt(service):
    service.override("TimeoutStopSec=2s")
    service.restart()
    running = service.act(sleep=6)
    wait_until(lambda: service.state(running) == "firing", "the attempt")
    service.stop()
    assert service.show("Result") == "success"
    service.start()
    assert [entry["outcome"] for entry in service.history(running)] == ["delivered"]


def test_systemd_starts_it_again_after_sigkill_and_nothing_is_lost(service):
    waiting = service.remind(**HOUR)
    running = service.act("was here", sleep=2)
    wait_until(lambda: service.state(running) == "firing", "the attempt")
    old = service.processes()
    service.kill()
    service.wait_for_restart()
    assert old & service.processes() == set()
    assert service.state(waiting) == "pending"
    assert service.outcome(running, 2)["outcome"] == "delivered"
    assert [entry["outcome"] for entry in service.history(running)] == ["interrupted", "delivered"]
    assert len({entry["key"] for entry in service.history(running)}) == 1


def test_a_client_that_creates_while_it_is_killed_loses_nothing_that_was_acknowledged(service):
    client = Client(service)
    client.start()
    for count in range(1, 4):
        before = len(client.made)
        wait_until(lambda before=before: len(client.made) > before + 20 or len(client.errors) > 10, "some reminders")
        service.kill()
        service.wait_for_restart(count)
    client.stop()
    assert len(client.errors) <= 3, "one at each kill: who was in the middle of a request"
    assert lost(service, client.made) == set()


def test_a_power_cut_loses_nothing(service):
    kept = [service.remind(**HOUR) for _ in range(20)]
    due = [service.remind(**{"in": "3s"}) for _ in range(20)]
    running = service.act(sleep=5)
    wait_until(lambda: service.state(running) == "firing", "the attempt")
    client = Client(service)
    client.start()
    wait_until(lambda: len(client.made) > 20, "some reminders")
    service.machine.power_cut()
    client.stop()
    time.sleep(2)
    assert service.machine.boot() == "running"
    assert service.is_active(UNIT)
    assert lost(service, kept + due + client.made) == set()
    assert {service.state(one) for one in kept} == {"pending"}
    for one in due:
        assert service.outcome(one)["outcome"] == "delivered"
    assert service.outcome(running, 2)["outcome"] == "delivered"
