"""The service manager's side is a real datagram socket, and sockets are handed over to a real child process."""

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.daemon import wait_until
from tifftockd.clock import SECOND
from tifftockd.systemd import Notifier, Watchdog


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A bound datagram socket in the place of PID 1's."""
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.setblocking(False)
        yield sock


def received(sock):
    messages = []
    while True:
        try:
            messages.append(sock.recv(65536).decode("ascii"))
        except BlockingIOError:
            return messages


def fill(path):
    """Send to a reader that does not read until no more goes in."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.sendto(b"STATUS=full", path)


def test_each_notice_is_one_message(manager):
    notifier = Notifier(os.environ)
    notifier.ready()
    notifier.stopping()
    notifier.extend(90 * SECOND)
    assert received(manager) == ["READY=1", "STOPPING=1", "EXTEND_TIMEOUT_USEC=90000000"]


def test_a_reload_carries_the_monotonic_time_in_microseconds(manager):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(os.environ).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    [message] = received(manager)
    first, second = message.split("\n")
    assert first == "RELOADING=1"
    assert before - 1 <= int(second.removeprefix("MONOTONIC_USEC=")) <= after


def test_an_abstract_address_works(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0tifftockd-test-" + str(os.getpid()))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "@tifftockd-test-" + str(os.getpid()))
        Notifier(os.environ).ready()
        assert received(sock) == ["READY=1"]


def test_without_a_service_manager_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier(os.environ)
    notifier.ready()
    assert notifier.status("idle", 0.0)


# Python counts the socket that sdnotify gives up as unclosed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_service_manager_that_is_gone_harms_nothing(manager, tmp_path, capfd):
    notifier = Notifier(os.environ)
    (tmp_path / "notify").unlink()
    notifier.ready()
    notifier.status("idle", 0.0)
    assert "notify-failed" in capfd.readouterr().err


def test_a_receiver_that_was_made_anew_gets_the_next_notice(manager, tmp_path):
    notifier = Notifier(os.environ)
    notifier.ready()
    (tmp_path / "notify").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(str(tmp_path / "notify"))
        second.setblocking(False)
        notifier.stopping()
        assert received(second) == ["STOPPING=1"]


def test_a_status_is_one_line_of_ascii_and_cannot_name_another_field(manager):
    Notifier(os.environ).status("40 € due\nWATCHDOG=trigger\x1b", 0.0)
    assert received(manager) == ["STATUS=40 ? due?WATCHDOG=trigger?"]


def test_a_long_status_is_cut_to_what_the_service_manager_reads(manager):
    Notifier(os.environ).status("x" * 5000, 0.0)
    [message] = received(manager)
    assert 500 < len(message) < 4096


def test_a_status_is_sent_at_most_once_a_second_and_the_last_one_wins(manager):
    notifier = Notifier(os.environ)
    assert notifier.status("1 pending", 100.0)
    assert not notifier.status("2 pending", 100.2)
    assert not notifier.status("3 pending", 100.9)
    assert notifier.status("3 pending", 101.0)
    assert received(manager) == ["STATUS=1 pending", "STATUS=3 pending"]


def test_a_status_that_is_shown_already_is_not_sent_again(manager):
    notifier = Notifier(os.environ)
    notifier.status("idle", 100.0)
    assert notifier.status("idle", 100.1)
    assert notifier.status("idle", 200.0)
    assert received(manager) == ["STATUS=idle"]


def test_a_status_does_not_wait_for_a_service_manager_that_does_not_read(manager, tmp_path):
    fill(str(tmp_path / "notify"))
    notifier = Notifier(os.environ)
    begun = time.monotonic()
    notifier.status("busy", 100.0)
    assert time.monotonic() - begun < 1
    received(manager)
    # What was lost is sent when it is shown the next time.
    notifier.status("busy", 101.0)
    assert received(manager) == ["STATUS=busy"]


def test_what_changes_during_a_probe_is_shown(manager):
    texts = ["as it was"]

    def probe(_patience):
        if shown:
            texts.append("as it is now")
            watchdog.changed()
        return True

    def status():
        shown.append(texts[-1])
        return texts[-1]

    shown = []
    watchdog = Watchdog(Notifier(os.environ), {"WATCHDOG_USEC": "20000"}, probe, status)
    watchdog.start()
    heard = []
    wait_until(lambda: heard.extend(received(manager)) or "STATUS=as it is now" in heard, "what is new")
    watchdog.stop()
    assert shown[:2] == ["as it was", "as it is now"]
    assert "WATCHDOG=1" in heard


def test_what_changes_in_a_burst_wakes_nobody_for_each(manager):
    def woken():
        status = Path(f"/proc/self/task/{watchdog._thread.native_id}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    looked = threading.Event()
    watchdog = Watchdog(Notifier(os.environ), {}, lambda _: True, lambda: looked.set() or "the same")
    watchdog.start()
    assert looked.wait(10)
    before = woken()
    for _ in range(200):
        watchdog.changed()
        time.sleep(0.001)
    assert woken() - before < 50
    watchdog.stop()


def test_it_ends_at_once_also_when_that_is_said_during_a_probe(manager):
    def probe(patience):
        stopping.start()
        return watchdog._stopping.wait(10)

    watchdog = Watchdog(Notifier(os.environ), {"WATCHDOG_USEC": "60000000"}, probe, lambda: "as it is")
    stopping = threading.Thread(target=watchdog.stop, daemon=True)
    watchdog.start()
    wait_until(lambda: stopping.ident is not None, "the probe")
    stopping.join(10)
    assert not stopping.is_alive()


# ---- sockets: in a child process, as descriptors count from 3

CHILD = """
import os, sys
from tifftockd.errors import ListenError
from tifftockd.systemd import inherited_sockets
for place, fd in enumerate(map(int, sys.argv[1].split())):
    os.dup2(fd, 3 + place)
environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "api"}
environ.update(pair.split("=") for pair in sys.argv[2:])
try:
    for sock in inherited_sockets(environ):
        print(sock.fileno(), sock.family.name, sock.getsockname(), "kept" if sock.get_inheritable() else "cloexec")
        sock.detach()
except ListenError as error:
    print("ListenError:", error)
"""


def hand_over(*sockets, env=()):
    """Run CHILD with these as descriptors 3, 4, ... and give back what it prints."""
    # Behind all that come to stand where one of them is.
    high = [fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 200) for sock in sockets]
    command = [sys.executable, "-c", CHILD, " ".join(map(str, high)), *env]
    try:
        return subprocess.run(command, pass_fds=high, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    finally:
        for fd in high:
            os.close(fd)


@pytest.fixture
def unix_listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        yield sock


@pytest.fixture
def tcp_listener():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def test_listening_sockets_are_taken_over_in_order_and_not_handed_on(unix_listener, tcp_listener):
    told = hand_over(unix_listener, tcp_listener, env=["LISTEN_FDS=2"])
    assert told == (f"3 AF_UNIX {unix_listener.getsockname()} cloexec\n4 AF_INET {tcp_listener.getsockname()} cloexec")


@pytest.mark.parametrize("env", ["LISTEN_PID=1", "LISTEN_PID=", "LISTEN_FDS=0"])
def test_what_is_meant_for_another_process_is_left_alone(unix_listener, env):
    assert hand_over(unix_listener, env=[env]) == ""


def test_a_socket_that_does_not_listen_is_refused_by_its_name():
    with socket.socket() as sock:
        told = hand_over(sock)
    assert told.startswith("ListenError: descriptor 3 (api), handed over by the service manager, is not a listening")
    assert "Accept=no" in told


def test_a_datagram_socket_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "d"))
        assert "is not a listening stream socket" in hand_over(sock)


def test_a_file_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert "descriptor 3 (api), handed over by the service manager, is not a socket" in hand_over(file)


def test_a_descriptor_that_is_not_there_is_refused_even_without_a_name(unix_listener):
    assert "descriptor 4 (unknown), handed over by the service manager, is not a socket" in hand_over(
        unix_listener, env=["LISTEN_FDS=2"]
    )


@pytest.mark.parametrize("count", ["two", "-1", "", "99999999999"])
def test_a_count_that_is_no_number_is_refused(unix_listener, count):
    assert "ListenError: LISTEN_FDS is" in hand_over(unix_listener, env=[f"LISTEN_FDS={count}"])
