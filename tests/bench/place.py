"""Where one run of a contender takes place: a folder that is empty before it, and how much is to be done."""

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.bench.stores import Stores
from tests.daemon import Daemon, end

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    folder: Path
    stores: Stores
    quick: bool = False
    # The sources of the daemon that is measured: this revision's, or another's
    tree: Path = ROOT
    # Entered with the pid of each daemon, for as long as that is measured
    watch: Callable[[int], AbstractContextManager] = nullcontext

    def pick(self, full, quick):
        """How much of something, by whether there is time."""
        return quick if self.quick else full

    def prepare(self, pending=0, **settings):
        """A daemon that is not started yet, with so many reminders in its store that come due in years."""
        daemon = Daemon(self.folder, {"PYTHONPATH": str(self.tree)} | settings).prepare()
        if pending:
            daemon.database.parent.mkdir(exist_ok=True)
            self.stores.copy(pending, daemon.database)
        return daemon

    @contextmanager
    def daemon(self, pending=0, **settings):
        """One that runs, and is stopped at the end."""
        daemon = self.prepare(pending, **settings)
        try:
            daemon.start()
            with self.watch(daemon.process.pid):
                yield daemon
        finally:
            end(daemon)
