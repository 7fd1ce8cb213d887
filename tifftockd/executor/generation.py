"""All handlers of one configuration; a reload makes new ones and lets the old ones drain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tifftockd import journal
from tifftockd.config import Config
from tifftockd.errors import LoadError
from tifftockd.executor.forker import why
from tifftockd.executor.heartbeat import MODULE, Heart
from tifftockd.executor.loop import Loop
from tifftockd.executor.pool import Pool
from tifftockd.executor.processes import Parent, Template
from tifftockd.handlers import builtin
from tifftockd.handlers.dropins import Dropin, find_dropins
from tifftockd.handlers.executable import describe_program
from tifftockd.handlers.registry import Registry
from tifftockd.handlers.spec import MethodSpec
from tifftockd.worker.forking import NOT_STARTED

# How long a drop-in may take to be imported, in seconds.
_LOAD = 10.0
# Seconds until one that took longer is tried again, doubled each time, and the longest that they become.
_AGAIN = 10.0
_AGAIN_AT_MOST = 3600.0


class Generation:
    """All handlers of one configuration. It happens in the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        config: Config,
        registry: Registry,
        make_pool: Callable[[MethodSpec, Template], Pool],
        before: Mapping[str, Dropin],
        only: str | None,
    ) -> None:
        """`make_pool` is called for each method with the template that has it, a drop-in's after a built-in's.

        `before`: the drop-ins that have been in use; one that can be loaded no more stays as it was.
        `only`: the name of the one file to load; None: all.
        """
        self.config = config
        self.registry = registry
        self.pools: dict[str, Pool] = {}
        self.replaced: list[Pool] = []  # those whose method another has taken, while they have workers
        self._loop = loop
        self._make_pool = make_pool
        self._parent = Parent(loop, dict(config.environ))
        self._templates: list[Template] = []
        self._newest: dict[str, Dropin] = {}  # as they were found, by path
        self._loading: set[str] = set()
        self._loaded: Callable[[], None] = lambda: None
        self._taken: dict[str, str] = {}  # a method's drop-in
        self._before = before
        self._only = only
        self.dropins: dict[str, Dropin] = {}  # those in use, by path
        self.heart: Heart | None = None
        self._stopped = False

    def load(self, loaded: Callable[[], None]) -> None:
        """Take up the built-in methods and load the drop-ins; `loaded` is called when no more are to come."""
        self._loaded = loaded
        for spec in self.registry.specs():
            module = builtin.MODULES[spec.method]
            self._use(spec, self._add(Template.of_builtin(self._loop, self._parent, module)))
        if self.config.heartbeat_url is not None:
            template = self._add(Template.of_builtin(self._loop, self._parent, MODULE))
            self.heart = Heart(self._loop, self.config, template)
        dropins = find_dropins(self.config.handlers_dir, self._only)
        self._newest = {dropin.path: dropin for dropin in dropins}
        self._loading = set(self._newest)
        for dropin in dropins:
            self._take_up(dropin)
        if not dropins:
            self._finish()

    def last_used(self) -> dict[str, Dropin]:
        """The drop-ins in use, and those that were before and are to be tried again: what a reload may fall back on."""
        before = {path: one for path, one in self._before.items() if path in self._newest and one.program is None}
        return before | self.dropins

    @property
    def is_busy(self) -> bool:
        """Whether an attempt is running."""
        return any(pool.busy for pool in self.all_pools())

    def stop(self) -> None:
        """Let idle workers go now, and the others after their attempts."""
        self._stopped = True
        for pool in self.all_pools():
            pool.stop()

    def kill_attempts(self) -> None:
        """End what is running: it is interrupted."""
        for pool in self.all_pools():
            pool.interrupt()

    def close(self) -> None:
        """End all processes."""
        self._stopped = True
        for pool in self.all_pools():
            pool.close()
        if self.heart is not None:
            self.heart.pool.close()
        for template in self._templates:
            template.discard()
        self._parent.close()

    def all_pools(self) -> list[Pool]:
        """Those in use, and those whose method another has taken."""
        return [*self.pools.values(), *self.replaced]

    def forget_replaced(self) -> None:
        """Those whose last worker has gone."""
        self.replaced = [pool for pool in self.replaced if pool.is_warm()]

    def _use(self, spec: MethodSpec, template: Template) -> None:
        pool = self._make_pool(spec, template)
        if self._stopped:
            pool.stop()
        if (before := self.pools.get(spec.method)) is None:
            self.pools[spec.method] = pool
        else:
            # In this order: who asks how many attempts of a method run never misses one.
            self.replaced.append(before)
            self.pools[spec.method] = pool
            before.hand_over()

    def _add(self, template: Template) -> Template:
        self._templates.append(template)
        return template

    def _drop(self, template: Template | None) -> None:
        if template is not None:
            self._templates.remove(template)
            template.discard()

    def _take_up(self, dropin: Dropin) -> None:
        if dropin.refused is not None:
            self._failed(dropin, dropin.refused)
        elif dropin.program is not None:
            self._use_program(dropin)
        else:
            self._load_module(dropin, _AGAIN)

    def _use_program(self, dropin: Dropin) -> None:
        """An executable is never run to ask what it is: what is declared beside it is data."""
        template = self._add(Template.of_dropin(self._loop, self._parent, dropin))
        try:
            spec = describe_program(dropin.path, dropin.text, self.config.environ)
        except LoadError as error:
            self._failed(dropin, error.message)
            return
        self._accept(dropin, template, [spec])
        self._finished(dropin.path)

    def _load_module(self, dropin: Dropin, again: float) -> None:
        """`again`: seconds until it is tried once more, if it takes too long or could not be begun."""
        template: Template | None = None
        waiting = True

        def answered() -> bool:
            """Whether this is the first that is heard of it: a template that says why it ends is heard of twice."""
            nonlocal waiting
            first, waiting = waiting, False
            timer.cancel()
            return first

        def failed(reason: str, *, once_more: bool) -> None:
            if not answered():
                return
            self._drop(template)
            if not self._stopped:  # else nobody needs it any more
                self._failed(dropin, reason, again if once_more else None)

        def hello(message: dict[str, Any]) -> None:
            if "error" in message:
                # What could be imported before, and is the same, lacks something that may come back.
                failed(message["error"], once_more=dropin == self._before.get(dropin.path))
            elif answered():
                assert template is not None
                self._heard(dropin, template, message, failed_before=again > _AGAIN)

        def died(status: int) -> None:
            # One that was not begun, or ended with the process that forks them all, is not to blame. What it has said
            # before may still be in its own socket.
            once_more = status in (-1, NOT_STARTED)
            self._loop.call(lambda: failed(f"its import {why(status)}", once_more=once_more))

        timer = self._loop.after(_LOAD, lambda: failed(f"its import took longer than {_LOAD:.0f} s", once_more=True))
        try:
            template = self._add(Template.of_dropin(self._loop, self._parent, dropin))
            template.load(hello, died)
        except Exception as error:
            failed(f"its import cannot be begun: {error}", once_more=True)

    def _heard(self, dropin: Dropin, template: Template, message: dict[str, Any], *, failed_before: bool) -> None:
        """What an import came to."""
        specs = [MethodSpec(**spec) for spec in message["specs"]]
        if lost := self._methods_of(dropin.path) - {spec.method for spec in specs}:
            # That of the version before, which has been in use meanwhile, may be another file's by now.
            self._drop(template)
            self._failed(
                dropin, f"it could be loaded late, and has no method {', '.join(sorted(lost))}: reload to use it"
            )
            return
        template.threads = message["threads"]
        if template.threads:
            template.close()
        if failed_before:
            self.registry.mend(dropin.path)
        self._accept(dropin, template, specs)
        self._finished(dropin.path)

    def _methods_of(self, path: str) -> set[str]:
        return {method for method, owner in self._taken.items() if owner == path}

    def _retry(self, dropin: Dropin, pause: float) -> None:
        """A machine that was busy starting may be why it failed: nobody should have to find that out.

        The version before it, if it is in use, stays so until the new one can be.
        """
        is_newest = self._newest.get(dropin.path) is dropin
        if is_newest and not self._stopped and self.dropins.get(dropin.path) != dropin:
            self._load_module(dropin, min(2 * pause, _AGAIN_AT_MOST))

    def _failed(self, dropin: Dropin, reason: str, again: float | None = None) -> None:
        """Report it, and go on with the version that has been in use, if there is one.

        `again`: seconds until it is tried once more.
        """
        if again is not None:
            self._loop.after(again, lambda: self._retry(dropin, again))
        before = self._before.get(dropin.path, dropin)
        if before != dropin:
            reason += "; the version before it stays in use"
        journal.event("dropin-failed", journal.ERR, file=dropin.path, message=reason)
        self.registry.fail(dropin.path, reason)
        try:
            if before not in (dropin, self.dropins.get(dropin.path)):
                self._take_up(before.again())
                return
        except OSError:
            pass  # no descriptor is left
        self._finished(dropin.path)

    def _finished(self, path: str) -> None:
        if path in self._loading:
            self._loading.remove(path)
            if not self._loading:
                self._finish()

    def _accept(self, dropin: Dropin, template: Template, specs: list[MethodSpec]) -> None:
        """Take up a file's methods; a name that another file has too goes to the first in sorted order."""
        path, mine = dropin.path, []
        self.dropins[path] = dropin
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
