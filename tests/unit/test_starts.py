"""Workers that are started together: what becomes of them where that fails, or where there are many."""

import json
import os
import socket
from types import SimpleNamespace

import pytest

from tests.daemon import wait_until
from tifftockd.clock import SECOND
from tifftockd.executor import starter as starter_module
from tifftockd.executor.forker import Forker, pair
from tifftockd.executor.loop import Loop
from tifftockd.executor.starter import Limits, Starter

LIMITS = Limits(concurrency=4, timeout=60 * SECOND, memory=0, output=0, renew=1000)
# More than the kernel takes at once.
MANY = 700


class Pool:
    """What a starter tells its pool."""

    timeout_text, repeatable = "a minute", True

    def __init__(self, loop, source):
        self.said = []
        self.starter = Starter(loop, "lamp", LIMITS, source, self)

    def died(self, worker, status):
        worker.close()
        self.starter.lost(worker, status)

    def dispatch(self):
        self.said.append("again")

    def cannot_start(self, reason):
        self.said.append(reason)


@pytest.fixture
def pool(monkeypatch):
    """One whose workers die when `deaths` says so; each pause before the next try is over at once."""
    monkeypatch.setattr(starter_module, "PAUSE", 0)
    loop, deaths = Loop("test"), []

    def fork_worker(_method, _limits, _descriptors, died):
        deaths.append(died)
        return len(deaths)

    source = SimpleNamespace(fork_worker=fork_worker, renew=lambda: None, fault=None)
    made = Pool(loop, source)
    made.deaths, made.turn = deaths, loop._turn
    return made


def test_workers_that_were_started_together_and_die_together_are_one_try(pool):
    for tries in range(1, 5):
        for _ in range(4):
            assert pool.starter.start() is not None
        while pool.deaths:
            pool.deaths.pop()(9)
        assert pool.starter.count == 0
        if tries < 4:
            assert pool.starter.resting
            pool.turn()
            assert pool.said == ["again"] * tries
    assert pool.said[3] == "no worker can be started: it was killed by SIGKILL"


def test_commands_that_the_kernel_does_not_take_yet_wait_and_come_in_order_with_their_descriptors():
    loop = Loop("test")
    ours, theirs = pair(socket.SOCK_SEQPACKET)
    gone, before = [], os.listdir("/proc/self/fd")
    forker = Forker(loop, ours, lambda: gone.append(True))
    read_end, write_end = os.pipe()
    tags = [forker.fork({"method": "lamp"}, [write_end], lambda _status: None) for _ in range(MANY)]
    os.close(write_end)
    assert forker.has_children
    loop.start()
    got = []
    for _ in range(MANY):
        data, descriptors, *_ = socket.recv_fds(theirs, 65_536, 4)
        got.append((json.loads(data)["fork"], len(descriptors)))
        for descriptor in descriptors:
            os.close(descriptor)
    assert got == [(tag, 1) for tag in tags]
    assert os.read(read_end, 1) == b"", "no copy of the other end is left"
    assert not gone
    theirs.close()
    wait_until(lambda: gone, "the end")
    loop.stop()
    os.close(read_end)
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_who_dies_before_all_commands_were_sent_takes_all_children_along_and_no_descriptor_is_left():
    loop, gone, deaths = Loop("test"), [], []
    ours, theirs = pair(socket.SOCK_SEQPACKET)
    forker = Forker(loop, ours, lambda: gone.append(True))
    read_end, write_end = os.pipe()
    for _ in range(MANY):
        forker.fork({"method": "lamp"}, [write_end], deaths.append)
    os.close(write_end)
    theirs.close()
    loop.start()
    wait_until(lambda: len(deaths) == MANY, "their ends")
    loop.stop()
    assert (gone, set(deaths)) == ([True], {-1})
    assert os.read(read_end, 1) == b""
    os.close(read_end)


@pytest.mark.parametrize("commands", [1, 2])
def test_what_a_process_has_said_is_heard_although_it_ends_with_commands_unread(commands):
    loop, told = Loop("test"), []
    ours, theirs = pair(socket.SOCK_SEQPACKET)
    forker = Forker(loop, ours, lambda: told.append("gone"))
    forker.hello = told.append
    theirs.send(json.dumps({"error": "the lamp is broken"}).encode())
    forker.fork({}, [], told.append)
    theirs.close()
    for _ in range(1, commands):
        forker.fork({}, [], told.append)
    wait_until(lambda: loop._turn() or len(told) == 2 + commands, "its end")
    assert told == [{"error": "the lamp is broken"}, "gone", *[-1] * commands]
