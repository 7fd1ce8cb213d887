"""The daemon's end of a process that forks on command: the bare parent, or a template."""

from __future__ import annotations

import itertools
import json
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tifftockd.executor.loop import Loop
from tifftockd.handlers.executable import signal_name

_MESSAGE_BYTES = 262_144
_tags = itertools.count(1)


class Forker:
    """Sends commands, and tells of deaths. All of it happens in the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        control: socket.socket,
        gone: Callable[[], None],
        childless: Callable[[], None] = lambda: None,
    ) -> None:
        """`gone` is called once, when the process has died: then all its children have died, too.

        `childless` is called each time that the last of its children has ended.
        """
        self._loop = loop
        self._control = control
        self._gone = gone
        self._childless = childless
        self._children: dict[int, Callable[[int], None]] = {}
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self.hello: Callable[[dict[str, Any]], None] | None = None
        self.open = True
        control.setblocking(False)
        loop.watch(control.fileno(), self._ready)

    def fork(self, command: dict[str, Any], descriptors: list[int], died: Callable[[int], None]) -> int:
        """Start a child and return its tag. `died` is told the status of waitpid(2), or -1 when it is not known.

        OSError if there are no descriptors for what has to wait.
        """
        tag = next(_tags)
        if not self.open:
            self._loop.call(lambda: died(-1))
            return tag
        self._send(command | {"fork": tag}, descriptors)
        self._children[tag] = died
        return tag

    def kill(self, tag: int) -> None:
        """Kill a child with all that it started; `died` follows."""
        self._send({"kill": tag}, [])

    def resume(self, tag: int) -> None:
        """Let a child go on that somebody has stopped."""
        self._send({"resume": tag}, [])

    @property
    def has_children(self) -> bool:
        """Whether any has been asked for and has not ended yet."""
        return bool(self._children)

    def finish(self) -> None:
        """Let the process end, and call `gone` when it has."""
        with suppress(OSError):  # it is dead already, which is about to be told
            self._control.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let the process end, and all that descends from it."""
        if self.open:
            self.open = False
            self._loop.forget(self._control.fileno())
            self._control.close()
            while self._unsent:
                _close_all(self._unsent.popleft()[1])

    def _send(self, command: dict[str, Any], descriptors: list[int]) -> None:
        if not self.open:
            return
        data = json.dumps(command).encode()
        if self._unsent or not self._sends(data, descriptors):
            # The kernel takes a few hundred that the process has not read yet.
            self._unsent.append((data, _copies(descriptors)))
            self._loop.watch(self._control.fileno(), self._ready, select.EPOLLIN | select.EPOLLOUT)

    def _sends(self, data: bytes, descriptors: list[int]) -> bool:
        """Whether it is sent, or never can be."""
        try:
            socket.send_fds(self._control, [data], descriptors)
        except BlockingIOError:
            return False
        except ConnectionError:
            pass  # it is dead; what it has said is read before its end
        except OSError:
            self._loop.call(self._end)
        return True

    def _send_on(self) -> None:
        while self._unsent and self._sends(*self._unsent[0]):
            _close_all(self._unsent.popleft()[1])
        if not self._unsent:
            self._loop.watch(self._control.fileno(), self._ready)

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._send_on()
        if events & ~select.EPOLLOUT:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._control.recv(_MESSAGE_BYTES)
        except (BlockingIOError, ConnectionResetError):
            # That it has not read all commands is told once, and before what it has said.
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        message = json.loads(data)
        if "died" in message:
            if died := self._children.pop(message["died"], None):
                died(message["status"])
            if not self._children:
                self._childless()
        elif self.hello is not None:
            self.hello(message)

    def _end(self) -> None:
        if not self.open:
            return
        self.close()
        # First, so that whoever hears of a child's death and wants another one does not ask here.
        self._gone()
        children, self._children = self._children, {}
        for died in children.values():
            self._loop.call(partial(died, -1))


def _copies(descriptors: list[int]) -> list[int]:
    """Of one's own: the others are closed when the command is thought to be on its way. OSError: none are made."""
    copies: list[int] = []
    try:
        for descriptor in descriptors:
            copies.append(os.dup(descriptor))  # noqa: PERF401  those that were made are to be closed
    except OSError:
        _close_all(copies)
        raise
    return copies


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def pair(kind: int) -> tuple[socket.socket, socket.socket]:
    """A connected pair, for the daemon and for the child."""
    return socket.socketpair(socket.AF_UNIX, kind)


def why(status: int) -> str:
    """How a process ended, in words, from its status of waitpid(2)."""
    if status < 0:
        return "ended with its template"
    if os.WIFSIGNALED(status):
        return f"was killed by {signal_name(os.WTERMSIG(status))}"
    return f"exited with status {os.waitstatus_to_exitcode(status)}"
