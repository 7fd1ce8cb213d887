"""The one composition root: build the parts, start them, obey signals, reload, stop."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tifftockd import __version__, clock, journal
from tifftockd.api import make_app
from tifftockd.config import KEY_ADVICE, Config, fallback_folder, load_config, private_folder
from tifftockd.errors import ConfigError, TifftockError
from tifftockd.executor import Executor
from tifftockd.scheduler import Scheduler
from tifftockd.server import Server, open_sockets
from tifftockd.store import Store
from tifftockd.systemd import Notifier

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Seconds that the start waits for drop-ins, so that one which replaces a built-in method has it from the first
# reminder on. A slower one keeps nobody else waiting.
_GRACE = 1.0
# Seconds that requests, and then attempts, have to end when the daemon stops. systemd allows 90 in all.
_REQUESTS = 5.0
_ATTEMPTS = 60.0


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
        self._notifier = Notifier(environ)
        self._store = Store(config.database_url, config.database_path)
        self._scheduler = Scheduler(self._store, config)
        self._executor = Executor(config, self._scheduler.wake)
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
        """Open the store and the sockets, then watch."""
        # Only this user reads the database; the sockets' mode is set apart.
        os.umask(0o077)
        self._store.open()
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
        self._server = Server(app, sockets)
        self._server.start()
        self._executor.registry.wait(_GRACE)
        self._scheduler.start(self._executor)
        addresses = " ".join(_address(one) for one in sockets)
        journal.event("listening", addresses=addresses, version=__version__, interrupted=interrupted or None)
        self._notifier.ready()

    def reload(self) -> None:
        """Read the settings and load the handlers anew; any error keeps the old ones."""
        self._notifier.reloading()
        try:
            config = load_config(self._environ, self._env_file, inherited=bool(self._inherited))
            self._executor.reload(config)
        except TifftockError as error:
            journal.event("reload-failed", journal.ERR, message=error.message)
            self._notifier.status(f"reload failed: {error.message}", clock.monotonic())
        else:
            for name, old, new in (
                ("API_URL", self._config.listen, config.listen),
                ("DATABASE_URL", self._config.database_url, config.database_url),
            ):
                if old != new:
                    journal.event("restart-needed", journal.WARNING, setting=name)
            self._config = config
            self._scheduler.reload(config)
            journal.event("reloaded")
        self._notifier.ready()

    def stop(self) -> None:
        """Accept no more, let what runs end, settle it, and close."""
        self._notifier.stopping()
        journal.event("stopping")
        assert self._server is not None
        self._server.stop(_REQUESTS)
        self._scheduler.stop_claiming()
        self._executor.stop(_ATTEMPTS)
        self._scheduler.stop()
        self._store.close()
        journal.event("stopped")

    def _open_sockets(self) -> list[socket.socket]:
        """Those of API_URL; an address that was inherited is not opened again."""
        inherited = [_address(sock) for sock in self._inherited]
        if any(address.startswith("http:") for address in inherited) and not self._config.api_keys:
            raise ConfigError(f"systemd hands over {' '.join(inherited)}: on TCP clients need a key; {KEY_ADVICE}")
        if any(address.path and Path(address.path).parent == fallback_folder() for address in self._config.listen):
            private_folder(fallback_folder())
        return open_sockets(self._config.listen, self._inherited)


def _address(sock: socket.socket) -> str:
    """Where a socket listens, as a client names it."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if sock.family == socket.AF_INET6 else f"http://{host}:{port}"
