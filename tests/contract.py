"""/openapi.json as a measure: of single answers, and by schemathesis of all that it can think of.

`python tests/contract.py SOCKET [OPTION]...` is `schemathesis run` against the daemon at a Unix socket.
"""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

# As a program it is not found from where it is run.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonschema import Draft202012Validator

from tests.daemon import PATIENCE, unmeasured
from tifftockd.clock import SECOND
from tifftockd.errors import InvalidTime
from tifftockd.when import parse_span

BASE = "http://localhost"
# Events that no request may cause
FAULTS = ("request-failed", "server-fault", "store-request-failed", "store-fault", "scheduler-error")
# Of a long list so many items are looked at.
_LOOKED_AT = 20


class Contract:
    """A document, and what it says of an answer."""

    def __init__(self, document):
        self.document = document
        self._paths = {
            re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", path)): item for path, item in document["paths"].items()
        }
        self._validators = {}

    def operation(self, method, path):
        """The operation that a request is for; None if none is described."""
        for pattern, item in self._paths.items():
            if pattern.fullmatch(path.partition("?")[0]):
                return item.get("get" if method == "HEAD" else method.lower())
        return None

    def check(self, method, path, status, headers, data):
        """Assert that an answer is one of those that are described: its status, its headers, its body."""
        operation = self.operation(method, path)
        if operation is None:
            # What is no operation is an error, or tells what is one.
            assert status in {400, 401, 404, 405} or (method, status) == ("OPTIONS", 204), (method, path, status)
            described = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
        else:
            assert str(status) in operation["responses"], (method, path, status)
            described = operation["responses"][str(status)]
            self._check_headers(described.get("headers", {}), headers)
        if not data:
            assert method == "HEAD" or status == 204, (method, path, status)
            return
        assert data.endswith(b"\n")
        [(content_type, content)] = described["content"].items()
        assert headers["Content-Type"] == content_type
        if content_type == "application/json":
            value = json.loads(data)
            self.validator(content["schema"]).validate(value[:_LOOKED_AT] if isinstance(value, list) else value)

    def _check_headers(self, described, headers):
        for name, header in described.items():
            assert name in headers or not header.get("required"), name
        known = {"content-type", "content-length", "date", "connection", *map(str.lower, described)}
        assert {name.lower() for name in headers} <= known

    def validator(self, schema):
        """For a schema that may name the document's components."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {"components": self.document["components"], **schema}
            self._validators[key] = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
        return self._validators[key]


# ---- schemathesis


def run(socket_path, folder, *options, patience=PATIENCE * 10):
    """Let it have all its checks; its words if it has found something, else None. `folder`: for what it writes."""
    fixed = ("--checks=all", "--no-color", "--output-sanitize=false", "--generation-database=none")
    command = [sys.executable, __file__, socket_path, *fixed, *options]
    # What is to be measured is the daemon.
    environ = unmeasured()
    done = subprocess.run(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=patience, check=False,
    )  # fmt: skip
    return f"{' '.join(command)}\n{done.stdout}" if done.returncode else None


def _main():
    import requests
    import schemathesis
    import urllib3
    from requests.adapters import HTTPAdapter

    path, *options = sys.argv[1:]

    class Connection(urllib3.connection.HTTPConnection):
        def _new_conn(self):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(path)
            return sock

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        pool = Pool("localhost")

        def get_connection_with_tls_context(self, *arguments, **named):
            return self.pool

    adapter = Adapter()
    requests.Session.get_adapter = lambda session, url: adapter
    schemathesis.hook("before_call")(_harmless)
    from schemathesis.cli import schemathesis as command

    command(["run", f"{BASE}/openapi.json", *options])


def _harmless(context, case, kwargs):
    """Valid reminders are made such as do nothing to the world outside, and are still there when they are asked for."""
    bodies = case.body if isinstance(case.body, list) else [case.body]
    for body in bodies:
        if not isinstance(body, dict):
            continue
        if "in" in body and _is_soon(body["in"]):
            body["in"] = "1h"
        if isinstance(body.get("to"), str) and re.match("https?://", body["to"], re.IGNORECASE):
            body["to"] = "http://127.0.0.1:9/"


def _is_soon(span):
    try:
        return parse_span(span) < 3600 * SECOND
    except InvalidTime:
        return False


if __name__ == "__main__":
    _main()
