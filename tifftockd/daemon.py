"""The one composition root: build the parts, start them, obey signals, reload, stop."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tifftockd import __version__, clock, journal, threads
from tifftockd.api.access import holds_key
from tifftockd.api.app import make_app
from tifftockd.clock import SECOND, Micros
from tifftockd.config import KEY_ADVICE, Config, fallback_folder, load_config, private_folder
from tifftockd.errors import ConfigError, StoreError, StoreUnavailable, TifftockError
from tifftockd.executor import Executor
from tifftockd.executor.heartbeat import Pulse
from tifftockd.scheduler import Scheduler
from tifftockd.server import Server, open_sockets
from tifftockd.store import Store
from tifftockd.systemd import Notifier, Watchdog

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Seconds that the start waits for drop-ins, so that one which replaces a built-in method has it from the first
# reminder on. A slower one keeps nobody else waiting.
_GRACE = 1.0
# Seconds until the start has failed: for the first look at what is overdue, and for the first answer.
_START = 60.0
# Seconds that requests, and then attempts, have to end when the daemon stops.
_REQUESTS = 5.0
_ATTEMPTS = 60.0
# Seconds that all parts together have to show that they work, before the heartbeat.
_PROBE = 10.0
# What systemd is asked for, beside its TimeoutStopSec=: all of that, and the time to settle.
_STOP: Micros = 90 * SECOND
# For the migration of a large database, beside TimeoutStartSec=.
_MIGRATION: Micros = 1800 * SECOND


class Daemon:
    """From `start` to `stop`; `run` is both, with signals in between."""

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        env_file: Path | None = None,
        inherited: Sequence[socket.socket] = (),
    ) -> None:
        """`environ`: the process's own; `env_file`: of the command line. From these a reload reads again.

        `inherited`: listening sockets.
        """
        self._config = config
        self._environ = environ
        self._env_file = env_file
        self._inherited = list(inherited)
        self._complaint = ""  # why the last reload failed
        self._store = Store(config.database_url, config.database_path)
        self._notifier = Notifier(environ)
        self._watchdog = Watchdog(self._notifier, environ, self._works, self._status)
        self._scheduler = Scheduler(self._store, config, self._watchdog.changed)
        self._executor = Executor(config, self._look_again)
        self._pulse = Pulse(self._is_well, self._executor.beat)
        self._server: Server | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads. StoreError or ListenError when it cannot start."""
        # Blocked in this thread before any other is started, they wait here, and nothing wakes up to look for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.start()
        while signal.sigwait(SIGNALS) == signal.SIGHUP:
            self.reload()
        self.stop()

    def start(self) -> None:
        """Open the store and the sockets, then watch; READY when overdue work has been looked at and all answers."""
        # Only this user reads the database; the sockets' mode is set apart.
        os.umask(0o077)
        threads.share_memory()
        threads.take_short_turns()
        threads.gather()
        self._store.open(lambda: self._notifier.extend(_MIGRATION))
        try:
            interrupted = self._scheduler.recover()
            sockets = [*self._inherited, *self._open_sockets()]
        except TifftockError:
            self._store.close()
            raise
        self._executor.start()
        app = make_app(
            store=self._store,
            scheduler=self._scheduler,
            registry=self._executor.registry,
            config=lambda: self._config,
            now=clock.now,
        )
        self._server = Server(app, sockets, self._admits)
        self._server.start()
        self._executor.registry.wait(_GRACE)
        self._scheduler.start(self._executor)
        first = self._server.probe()
        first.ask()
        if not (self._scheduler.has_looked(_START) and first.answered(_START)):
            raise StoreError(f"the database does not answer: {self._store.fault or 'it takes too long'}")
        addresses = " ".join(_address(one) for one in sockets)
        _warn(self._config)
        journal.event("listening", addresses=addresses, version=__version__, interrupted=interrupted or None)
        self._watchdog.start()
        if self._config.heartbeat_url is not None:
            self._pulse.start()
        self._notifier.ready()

    def reload(self) -> None:
        """Read the settings and load the handlers anew; any error keeps the old ones."""
        self._notifier.reloading()
        try:
            config = load_config(self._environ, self._env_file, inherited=bool(self._inherited))
            self._executor.reload(config)
        except TifftockError as error:
            journal.event("reload-failed", journal.ERR, message=error.message)
            self._complaint = f"reload failed: {error.message}"
        else:
            for name, old, new in (
                ("API_URL", self._config.listen, config.listen),
                ("DATABASE_URL", self._config.database_url, config.database_url),
            ):
                if old != new:
                    journal.event("restart-needed", journal.WARNING, setting=name)
            _warn(config)
            self._config = config
            self._scheduler.reload(config)
            if config.heartbeat_url is not None:
                self._pulse.start()
            self._complaint = ""
            journal.event("reloaded")
        self._watchdog.changed()
        self._notifier.ready()

    def stop(self) -> None:
        """Accept no more, let what runs end, settle it, and close."""
        self._notifier.stopping()
        self._notifier.extend(_STOP)
        journal.event("stopping")
        self._watchdog.stop()
        self._pulse.stop()
        assert self._server is not None
        self._server.stop(_REQUESTS)
        self._scheduler.stop_claiming()
        self._executor.stop(_ATTEMPTS)
        self._scheduler.stop()
        self._store.close()
        journal.event("stopped")

    def _look_again(self) -> None:
        """Attempts have ended, or handlers have been loaded, which may take longer than the start."""
        self._scheduler.wake()
        self._watchdog.changed()

    def _admits(self, x_api_key: str, authorization: str) -> bool:
        return holds_key(x_api_key, authorization, self._config.api_keys)

    # ---- what the service manager is told, and others

    def _is_well(self) -> bool:
        # After a reload there may be no URL any more: then no thread is woken up for it.
        wanted = self._config.heartbeat_url is not None
        return wanted and self._works(_PROBE) and self._store.fault is None and not clock.is_wrong(clock.now())

    def _works(self, patience: float) -> bool:
        """Whether the threads of scheduler, executor and server turn and the API answers, all within so many seconds.

        One after the other: the question to the API goes through the hands of all. Asked at once they would wake up
        for the interpreter's lock, sleep again until they have it, and wake the daemon up twice as often.
        """
        server = self._server
        assert server is not None
        # This thread has been woken up on a CPU that is free; the one where the others are may not be.
        threads.gather()
        try:
            probe = server.probe()
            self._scheduler.probe(lambda: self._executor.probe(lambda: server.call(probe.ask)))
            return probe.answered(patience)
        except OSError as error:
            # Raised to the thread that asks, it would end that for good: there may be descriptors again next time.
            journal.event("probe-failed", journal.WARNING, error=error)
            return False
        finally:
            threads.roam()

    def _status(self) -> str:
        """One line for people: `3 pending, next in 2h 14min (email), 1 failed`."""
        try:
            summary = self._store.summary()
        except StoreUnavailable as error:
            return error.message
        now = clock.now()
        told = [f"{summary.counts['pending']} pending"]
        if clock.is_wrong(now):
            told.append("waiting for the clock to be set")
        elif summary.next_due is not None:
            told.append(f"next {_until(summary.next_due - now)} ({summary.next_method})")
        told += [f"{summary.counts[state]} {state}" for state in ("firing", "failed", "uncertain", "missed")
                 if summary.counts[state]]  # fmt: skip
        failures = [file.rpartition("/")[2] for file, _ in self._executor.registry.failures()]
        if failures:
            told.append(f"cannot load {' '.join(failures)}")
        if self._store.fault is not None:
            told.insert(0, f"cannot write: {self._store.fault}")
        return ", ".join([*told, self._complaint] if self._complaint else told)

    # ---- sockets

    def _open_sockets(self) -> list[socket.socket]:
        """Those of API_URL; an address that was inherited is not opened again."""
        inherited = [_address(sock) for sock in self._inherited]
        if any(address.startswith("http:") for address in inherited) and not self._config.api_keys:
            raise ConfigError(f"systemd hands over {' '.join(inherited)}: on TCP clients need a key; {KEY_ADVICE}")
        if any(address.path and Path(address.path).parent == fallback_folder() for address in self._config.listen):
            private_folder(fallback_folder())
        return open_sockets(self._config.listen, self._inherited)


def _warn(config: Config) -> None:
    for slip in config.slips:
        journal.event("setting-unknown", journal.WARNING, message=slip)


def _address(sock: socket.socket) -> str:
    """Where a socket listens, as a client names it."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if sock.family == socket.AF_INET6 else f"http://{host}:{port}"


def _until(span: Micros) -> str:
    """How long it is until then, in the two largest units."""
    seconds = span // SECOND
    if seconds <= 0:
        return "now"
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return f"in {' '.join(parts[:2])}"
