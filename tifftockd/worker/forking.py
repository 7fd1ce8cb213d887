"""What the parent and the templates have in common: fork on command, kill on command, report every death."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from tifftockd.worker import kin

# The largest command: names and limits only.
_COMMAND_BYTES = 65_536
# That come with one: a worker's three, and the code of what cannot be forked.
_DESCRIPTORS = 4
# As of waitpid(2): for a child that could not be forked, as if it had exited with EX_OSERR.
NOT_STARTED = 71 << 8


def serve(control: socket.socket, start: Callable[[dict[str, Any], list[int]], NoReturn]) -> None:
    """Serve the daemon until it closes its end; then kill all that descends from this process.

    Commands: {"fork": tag, ...} runs `start` in a child, with the descriptors that came along; {"kill": tag} kills
    that child with all that it started; {"resume": tag} lets it go on. Told in return: {"died": tag, "status": as of
    waitpid(2)}. A tag is the daemon's name for a child: a pid could long be somebody else's when it comes to use it.
    """
    pid = os.getpid()
    tags: dict[int, int] = {}
    deaths, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready = select.select([control.fileno(), deaths], [], [])[0]
        if deaths in ready:
            with suppress(BlockingIOError):
                os.read(deaths, 4096)
            _report(control, tags)
        if control.fileno() not in ready:
            continue
        try:
            data, descriptors, _flags, _address = socket.recv_fds(control, _COMMAND_BYTES, _DESCRIPTORS)
        except ConnectionResetError:
            break  # closed, with reports in it that the daemon has not read
        if not data:
            break
        command = json.loads(data)
        if "fork" not in command:
            _act(command, tags)
            continue
        try:
            child = os.fork()
        except OSError:
            # As many processes as there may be: that one is not started, and the others live.
            _keep([], descriptors)
            _tell(control, command["fork"], NOT_STARTED)
            continue
        if child == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(descriptors, [control.detach(), deaths, wake])
            kin.die_with(pid)
            # A signal that a handler sends to its process group is for nobody else.
            os.setsid()
            start(command, descriptors)
        tags[child] = command["fork"]
        _keep([], descriptors)
    kin.kill_descendants(pid)


def _act(command: dict[str, int], tags: dict[int, int]) -> None:
    for child, tag in tags.items():
        if tag == command.get("kill"):
            kin.kill_tree(child)
        elif tag == command.get("resume"):
            os.kill(child, signal.SIGCONT)


def _keep(descriptors: list[int], others: list[int]) -> None:
    """Close the others; and let no program that a handler starts inherit these."""
    for descriptor in others:
        os.close(descriptor)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)


def _report(control: socket.socket, tags: dict[int, int]) -> None:
    died: list[tuple[int, int]] = []
    with suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in tags:
                kin.kill_group(ended.si_pid)
            died.append(os.waitpid(ended.si_pid, 0))
    # What a dead child leaves running has become this process's own: none of it may stay.
    for child, status in died:
        if tag := tags.pop(child, None):
            kin.kill_descendants(os.getpid(), spare=frozenset(tags))
            _tell(control, tag, status)


def _tell(control: socket.socket, died: int, status: int) -> None:
    with suppress(OSError):  # the daemon may have closed its end
        control.send(json.dumps({"died": died, "status": status}).encode())
