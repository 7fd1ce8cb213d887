"""A stand-in of TiffTock's shape, as its users run it: `flask run` on the loopback, and a process that polls it."""

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from tests.bench import clients
from tests.bench.peers.environment import program
from tests.bench.peers.running import started
from tests.daemon import wait_until

KEY = {"x_api_key": "a-long-key"}
BODY = json.dumps({"when": "2035-01-31T09:00:00", "message": "tea is ready", "method": "email"})
CREATE = clients.post("/remind", BODY, **KEY)
LIST = clients.get("/reminders", **KEY)


@contextmanager
def serving(folder, scheduler=False):
    """The API's address and the processes, which are starting."""
    flask = program("flask")
    port = _free_port()
    environ = os.environ | {
        "DATABASE_URL": f"sqlite:///{folder}/tifftock.db",
        "API_KEY": KEY["x_api_key"],
        "API_URL": f"http://127.0.0.1:{port}",
    }
    app = str(Path(__file__).with_name("tifftock_api.py"))
    command = [flask, "--app", app, "run", "--host", "127.0.0.1", "--port", str(port)]
    with started(*command, folder=folder, env=environ, stdout=subprocess.DEVNULL) as api:
        if not scheduler:
            yield ("127.0.0.1", port), [api]
            return
        wait_for(("127.0.0.1", port))
        polling = [program(), str(Path(__file__).with_name("tifftock_scheduler.py"))]
        with started(*polling, folder=folder, env=environ) as poller:
            yield ("127.0.0.1", port), [api, poller]


def wait_for(address):
    """Until it can be connected to."""

    def answers():
        try:
            clients.connect(address).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
            return False
        return True

    wait_until(answers, "TiffTock's start")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
