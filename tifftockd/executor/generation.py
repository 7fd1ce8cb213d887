"""The bare parent and the templates of one configuration; a reload makes new ones and lets the old ones drain."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import tifftockd
from tifftockd import journal
from tifftockd.config import Config
from tifftockd.executor.forker import Forker, pair, why
from tifftockd.executor.loop import Loop, Timer
from tifftockd.executor.pool import Pool
from tifftockd.handlers import builtin
from tifftockd.handlers.dropins import Dropin, find_dropins
from tifftockd.handlers.registry import Registry
from tifftockd.handlers.spec import MethodSpec
from tifftockd.worker import kin

# How long a drop-in may take to be imported, in seconds.
_LOAD = 10.0
# Seconds after its last worker until a template is let go.
_IDLE = 60.0

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from tifftockd.worker.parent import main; main(int(sys.argv[2]))"
_ROOT = str(Path(tifftockd.__file__).resolve().parent.parent)


class Parent:
    """The bare parent process, started when it is first needed, and again when it has died."""

    # Of all generations: what else descends from the daemon is an orphan of a parent that died.
    _pids: ClassVar[set[int]] = set()

    def __init__(self, loop: Loop, environ: dict[str, str]) -> None:
        """`environ`: what handlers will see."""
        self._loop = loop
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._forker: Forker | None = None

    def forker(self) -> Forker:
        """Where commands go."""
        if self._forker is None:
            ours, theirs = pair(socket.SOCK_SEQPACKET)
            with theirs:
                # -I: neither the working directory nor PYTHON* variables can slip a module in. A session of its
                # own: a terminal's Ctrl-C is for the daemon alone.
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _BOOT, _ROOT, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    env=self._environ,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self._pids.add(self._process.pid)
            self._forker = Forker(self._loop, ours, self._died)
        return self._forker

    def close(self) -> None:
        """Let it end, and wait for that."""
        if self._forker is not None:
            self._forker.close()
            self._forker = None
        self._bury()

    def _died(self) -> None:
        self._forker = None
        journal.event("parent-died", journal.ERR)
        self._bury()
        kin.kill_descendants(os.getpid(), spare=frozenset(self._pids))

    def _bury(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            kin.kill_tree(process.pid)
            process.wait()
        self._pids.discard(process.pid)


class Template:
    """A module and the process that has imported it; the process comes and goes with the work."""

    def __init__(self, loop: Loop, parent: Parent, source: str, module: str, text: bytes | None = None) -> None:
        """`text`: a drop-in's, as it was checked; None for a built-in's module, which is imported."""
        self._loop = loop
        self._parent = parent
        self._command = {"source": source, "module": module}
        self._code = -1 if text is None else _memory_file(text)
        self._forker: Forker | None = None
        self._tag = 0
        self._workers: dict[int, Forker] = {}
        self._retire: Timer | None = None
        self.threads = False  # its import starts threads: it cannot be forked

    def load(self, hello: Callable[[dict[str, Any]], None], died: Callable[[str], None]) -> None:
        """Start the process; `hello` is told what it found, `died` how it ended."""
        ours, theirs = pair(socket.SOCK_SEQPACKET)
        parent = self._parent.forker()
        with theirs:
            descriptors = [theirs.fileno(), *self._code_fd()]
            self._tag = parent.fork(self._command, descriptors, lambda status: died(why(status)))
        self._forker = Forker(self._loop, ours, self._gone)
        self._forker.hello = hello

    def kill(self) -> None:
        """For an import without end."""
        self._parent.forker().kill(self._tag)

    def close(self) -> None:
        """Let the process end, and its workers with it."""
        if self._forker is not None:
            self._forker.close()
            self._forker = None

    def discard(self) -> None:
        """Close it, and give the drop-in's text back."""
        self.close()
        if self._code >= 0:
            os.close(self._code)
            self._code = -1

    # ---- pool.Source

    def fork_worker(
        self, method: str, limits: dict[str, int], descriptors: list[int], died: Callable[[int], None]
    ) -> int:
        """A worker for one of the module's methods; the template is started first where it has gone."""
        command: dict[str, Any] = {"method": method, "limits": limits}
        if self.threads:
            forker = self._parent.forker()
            command |= self._command
            descriptors = [*descriptors, *self._code_fd()]
        else:
            if self._forker is None:
                self.load(lambda _hello: None, lambda _how: None)
            assert self._forker is not None
            forker = self._forker

        def ended(status: int) -> None:
            self._workers.pop(tag, None)
            self._retire_later()
            died(status)

        tag = forker.fork(command, descriptors, ended)
        self._workers[tag] = forker
        return tag

    def kill_worker(self, tag: int) -> None:
        """By the process that forked it."""
        if forker := self._workers.get(tag):
            forker.kill(tag)

    def _gone(self) -> None:
        self._forker = None

    def _code_fd(self) -> list[int]:
        return [self._code] if self._code >= 0 else []

    def _retire_later(self) -> None:
        if self._workers or self._forker is None:
            return
        if self._retire is not None:
            self._retire.cancel()

        def retire() -> None:
            if not self._workers:
                self.close()

        self._retire = self._loop.after(_IDLE, retire)


class Generation:
    """All handlers of one configuration. It happens in the loop's thread."""

    def __init__(
        self, loop: Loop, config: Config, registry: Registry, make_pool: Callable[[MethodSpec, Template], Pool]
    ) -> None:
        """`make_pool` is called for each method with the template that has it, a drop-in's after a built-in's."""
        self.config = config
        self.registry = registry
        self.pools: dict[str, Pool] = {}
        self._replaced: list[Pool] = []
        self._loop = loop
        self._make_pool = make_pool
        self._parent = Parent(loop, dict(config.environ))
        self._templates: list[Template] = []
        self._loading: set[str] = set()
        self._loaded: Callable[[], None] = lambda: None
        self._taken: dict[str, str] = {}  # a method's drop-in

    def load(self, loaded: Callable[[], None]) -> None:
        """Take up the built-in methods and load the drop-ins; `loaded` is called when no more are to come."""
        self._loaded = loaded
        for spec in self.registry.specs():
            module = builtin.MODULES[spec.method]
            self._use(spec, self._add(Template(self._loop, self._parent, builtin.SOURCE, module)))
        dropins = find_dropins(self.config.handlers_dir)
        self._loading = {dropin.path for dropin in dropins}
        for dropin in dropins:
            if dropin.refused is not None:
                self._finished(dropin.path, dropin.refused)
            else:
                self._load_dropin(dropin)
        if not dropins:
            self._finish()

    @property
    def is_busy(self) -> bool:
        """Whether an attempt is running."""
        return any(pool.is_busy for pool in self._all_pools())

    def stop(self) -> None:
        """Let idle workers go now, and the others after their attempts."""
        for pool in self._all_pools():
            pool.stop()

    def kill_attempts(self) -> None:
        """End what is running: it is interrupted."""
        for pool in self._all_pools():
            pool.interrupt()

    def close(self) -> None:
        """End all processes."""
        for pool in self._all_pools():
            pool.close()
        for template in self._templates:
            template.discard()
        self._parent.close()

    def _all_pools(self) -> list[Pool]:
        return [*self.pools.values(), *self._replaced]

    def _use(self, spec: MethodSpec, template: Template) -> None:
        pool = self._make_pool(spec, template)
        before = self.pools.get(spec.method)
        self.pools[spec.method] = pool
        if before is not None:
            before.hand_over_to(pool)
            self._replaced.append(before)

    def _add(self, template: Template) -> Template:
        self._templates.append(template)
        return template

    def _load_dropin(self, dropin: Dropin) -> None:
        template = self._add(Template(self._loop, self._parent, dropin.path, dropin.module, dropin.text))

        def hello(message: dict[str, Any]) -> None:
            timer.cancel()
            if "error" in message:
                self._finished(dropin.path, message["error"])
                return
            template.threads = message["threads"]
            if template.threads:
                template.close()
            self._finished(dropin.path, None, (template, [MethodSpec(**spec) for spec in message["specs"]]))

        def late() -> None:
            template.kill()
            self._finished(dropin.path, f"its import took longer than {_LOAD:.0f} s")

        timer = self._loop.after(_LOAD, late)
        template.load(hello, lambda how: self._finished(dropin.path, f"its import {how}"))

    def _finished(self, path: str, error: str | None, result: tuple[Template, list[MethodSpec]] | None = None) -> None:
        if path not in self._loading:
            return
        self._loading.discard(path)
        if error is not None:
            journal.event("dropin-failed", journal.ERR, file=path, message=error)
            self.registry.fail(path, error)
        if result is not None:
            self._accept(path, *result)
        if not self._loading:
            self._finish()

    def _accept(self, path: str, template: Template, specs: list[MethodSpec]) -> None:
        """Take up a file's methods; a name that another file has too goes to the first in sorted order."""
        mine = []
        for spec in specs:
            rival = self._taken.get(spec.method, path)
            owner, loser = min(path, rival), max(path, rival)
            self._taken[spec.method] = owner
            if owner == path:
                mine.append(spec)
            if owner != loser:
                reason = f"method {spec.method} is already defined by {owner}"
                journal.event("dropin-failed", journal.ERR, file=loser, message=reason)
                self.registry.fail(loser, reason)
        for spec in mine:
            self._use(spec, template)
        self.registry.add(mine)
        journal.event("dropin-loaded", file=path, methods=" ".join(spec.method for spec in mine))

    def _finish(self) -> None:
        self.registry.loaded()
        self._loaded()


def _memory_file(text: bytes) -> int:
    descriptor = os.memfd_create("tifftockd-dropin", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(text)
    return descriptor
