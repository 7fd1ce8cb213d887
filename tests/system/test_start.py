"""Installation, and the ways in which it is started."""

from tests.daemon import wait_until
from tests.system.service import SETTINGS, SOCKET, SOCKET_UNIT, UNIT, Service


def test_it_answers_as_soon_as_it_is_installed(bare, deb):
    service = Service(bare)
    bare.run("apt-get", "install", "--yes", bare.push(deb, "/root"))
    assert '"status": "ok"' in service.curl("/health").stdout
    for unit in (UNIT, SOCKET_UNIT):
        assert service.systemctl("is-enabled", unit).stdout.strip() == "enabled"
    modes = bare.run("stat", "--format=%a %U:%G", SOCKET, SETTINGS, "/etc/tifftock/handlers.d", "/var/lib/tifftock")
    assert modes.stdout.splitlines() == [
        "660 root:tifftock", "640 root:_tifftock", "755 root:root", "700 _tifftock:_tifftock",
    ]  # fmt: skip


def test_it_is_there_after_a_boot(service):
    assert service.systemctl("is-system-running").stdout.strip() == "running"
    assert service.is_active()
    assert service.get("/health")["status"] == "ok"


def test_a_request_starts_it(service):
    service.stop()
    assert not service.is_active()
    assert service.is_active(SOCKET_UNIT)
    assert '"status": "ok"' in service.curl("/health").stdout
    wait_until(service.is_active, "the end of the start")


def test_it_is_ready_when_it_answers_and_has_looked_at_overdue_work(service):
    made = service.remind(**{"in": "1s"})
    service.stop()
    service.machine.run("sleep", "1")
    service.start()
    # What `systemctl start` waits for is READY=1.
    assert service.get("/health")["status"] == "ok"
    assert service.state(made) != "pending"


def test_systemd_hands_over_several_sockets_and_tcp_too(service):
    key = "a-key-that-nobody-guesses"
    service.override("ListenStream=/run/other.sock", "ListenStream=127.0.0.1:5000", unit=SOCKET_UNIT, section="Socket")
    service.set(API_KEY=key)
    service.stop()
    service.systemctl("restart", SOCKET_UNIT)
    tcp = ("http://127.0.0.1:5000",)
    for address in (
        ("--unix-socket", SOCKET, "http://localhost"),
        ("--unix-socket", "/run/other.sock", "http://localhost"),
        ("--header", f"x-api-key: {key}", *tcp),
    ):
        assert '"status": "ok"' in service.curl("/health", address=address).stdout, address
    assert "invalid api key" in service.curl("/health", address=tcp).stdout


def test_it_does_not_wait_for_a_network_that_never_comes(service):
    wants = service.show("After").split()
    assert "time-sync.target" in wants
    assert "network-online.target" not in wants
    wait_until(service.is_active)
