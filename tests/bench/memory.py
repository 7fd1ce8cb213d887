"""How much memory does the whole service take: the daemon, the parent of its workers, templates and workers?

Beside it, an interpreter with nothing to do.
"""

import json

from tests.bench import clients, processes
from tests.bench.table import Row
from tests.daemon import running

# Slow enough that each of several at once gets a worker of its own.
HANDLER = """
import time
from tifftockd import RemindProcess

class Pause(RemindProcess):
    def remind(self, message):
        time.sleep(0.2)
"""
PENDING = 1_000
WORKERS = 4


def ask(folder, quick):
    with running(folder, HANDLER_CONCURRENCY=str(WORKERS)) as daemon, processes.bare_python() as bare_pid:
        daemon.dropin("pause.py", HANDLER)
        waiting = clients.post("/remind", json.dumps({"in": "1d", "message": "later", "method": "log"}))
        clients.run(daemon.socket_path, waiting, clients=10, most=PENDING // 10)
        daemon.stop()
        daemon.start()
        bare = (processes.memory(bare_pid),)
        rows = [_row("after start", daemon, bare)]
        for made in [daemon.remind(method="pause") for _ in range(WORKERS)]:
            daemon.outcome(made)
        rows.append(_row("workers idle", daemon, bare))
    return rows


def _row(moment, daemon, bare):
    processes.settle(daemon.process.pid)
    count = len(processes.tree(daemon.process.pid))
    question = f"memory {moment}, MiB PSS, {count} processes"
    return Row(question, (processes.memory(daemon.process.pid),), bare, "python3 -c")
