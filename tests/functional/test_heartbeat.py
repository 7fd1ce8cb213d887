"""HEARTBEAT_URL: fetched while all is well."""

import errno
import os
import threading
from types import SimpleNamespace

from tests.daemon import wait_until
from tests.servers import Answer, HttpServer
from tifftockd import threads
from tifftockd.config import load_config
from tifftockd.daemon import Daemon
from tifftockd.executor.heartbeat import Pulse


def test_the_url_is_fetched_from_the_start_on_and_its_failure_is_told_once(daemon):
    with HttpServer(Answer(500, "no such ping: secret-token")) as server:
        daemon.settings["HEARTBEAT_URL"] = f"{server.url}/ping/secret-token"
        daemon.start()
        wait_until(lambda: server.requests, "the heartbeat")
        assert (server.requests[0].method, server.requests[0].path) == ("GET", "/ping/secret-token")
        wait_until(lambda: "heartbeat-failed" in daemon.log_text(), "the complaint")
    assert f"{server.url} answered 500" in daemon.log_text()
    assert "secret-token" not in daemon.log_text()
    assert "heartbeat" not in daemon.request("GET", "/handlers").text
    assert daemon.request("GET", "/history").json == []


def test_a_reload_begins_it(daemon):
    daemon.start()
    with HttpServer() as server:
        (daemon.folder / ".env").write_text(f"HEARTBEAT_URL={server.url}/\n")
        daemon.reload()
        wait_until(lambda: server.requests, "the heartbeat")
    assert daemon.stop() == 0


def test_once_there_is_no_url_any_more_no_thread_is_woken_up_for_it(tmp_path):
    daemon = Daemon(load_config({"HOME": str(tmp_path)}, inherited=True), {})
    # With nothing started yet: a probe of the threads would fail.
    assert not daemon._is_well()


def test_a_probe_that_cannot_be_made_is_one_that_failed_and_no_more(tmp_path, monkeypatch, capfd):
    """Raised to the thread that asks, it would end it: no heartbeat any more, and no WATCHDOG=1."""
    moved = []
    monkeypatch.setattr(threads, "gather", lambda: moved.append("gather"))
    monkeypatch.setattr(threads, "roam", lambda: moved.append("roam"))

    def probe():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    daemon = Daemon(load_config({"HOME": str(tmp_path)}, inherited=True), {})
    daemon._server = SimpleNamespace(probe=probe)
    assert not daemon._works(1)
    assert moved == ["gather", "roam"]
    assert "probe-failed error=" in capfd.readouterr().err


def test_it_beats_again_and_again_but_only_while_all_is_well():
    well, beats = threading.Event(), []
    asked = []

    def is_well():
        asked.append(None)
        return well.is_set()

    pulse = Pulse(is_well, lambda: beats.append(None), every=0.01)
    pulse.start()
    wait_until(lambda: len(asked) > 5, "some looks")
    assert beats == []
    well.set()
    wait_until(lambda: len(beats) > 3, "beats")
    well.clear()
    pulse.stop()
