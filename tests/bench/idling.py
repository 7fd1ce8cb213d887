"""What does the whole service do while nothing is due?

Beside it, an interpreter that waits for input.
"""

import json
import time

from tests.bench import clients, processes
from tests.bench.table import Row
from tests.daemon import running

PENDING = 1_000


def ask(folder, quick):
    seconds = 3 if quick else 30
    with running(folder) as daemon, processes.bare_python() as bare_pid:
        waiting = clients.post("/remind", json.dumps({"in": "1d", "message": "later", "method": "log"}))
        clients.run(daemon.socket_path, waiting, clients=10, most=PENDING // 10)
        # Workers and their templates idle too.
        daemon.outcome(daemon.remind())
        pids = daemon.process.pid, bare_pid
        processes.settle(daemon.process.pid)
        before = [processes.use(pid) for pid in pids]
        time.sleep(seconds)
        (cpu, wake_ups), (bare_cpu, bare_wake_ups) = (
            processes.use(pid).since(then) for pid, then in zip(pids, before, strict=True)
        )
    question = f"{seconds} s idle, {PENDING:,} pending:"
    return [
        Row(f"{question} CPU seconds", (cpu,), (bare_cpu,), "python3 -c"),
        Row(f"{question} wake-ups", (wake_ups,), (bare_wake_ups,), "python3 -c"),
    ]
