"""Settings that are wrong, and secrets that come as credentials."""

import re

import pytest

from tests.daemon import wait_until
from tests.system.service import SETTINGS, SOCKET_UNIT, UNIT

KEY = "a-key-that-nobody-guesses"
TCP = "http://127.0.0.1:5000"


def started(service):
    """Whether `systemctl start` says that it is ready."""
    return service.systemctl("restart", UNIT, check=False).returncode == 0


def errors(service):
    return [event["MESSAGE"] for event in service.events("--priority=err")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RETRIES=5\nMAX_LATE=soon\n", [SETTINGS, "line 2", "MAX_LATE", "soon"]),
        (f"API_URL={TCP}\n", ["API_KEY"]),
        ("SMTP_HOST=mail.example.org\nSMTP_SECURITY=maybe\n", ["SMTP_SECURITY", "maybe", "starttls"]),
    ],
    ids=["span", "no-key", "choice"],
)
def test_a_wrong_setting_ends_the_start_with_one_line_and_no_restart(service, text, words):
    service.machine.write(SETTINGS, text, "0640", "root:_tifftock")
    assert not started(service)
    assert service.show("ExecMainStatus") == "78"
    assert service.show("Result") == "exit-code"
    [line] = errors(service)
    for word in words:
        assert word in line
    wait_until(lambda: service.show("ActiveState") == "failed", "the end")
    # RestartSec is a second.
    service.machine.run("sleep", "2.5")
    assert service.restarts == 0
    assert service.show("ActiveState") == "failed"
    # Put right, it starts, and the socket is there.
    service.set(RETRIES=3)
    service.start()
    assert service.remind()["retries"] == 3
    assert service.is_active(SOCKET_UNIT)


def test_a_wrong_setting_is_no_loop_for_a_client_that_waits(service):
    service.stop()
    service.set(MAX_LATE="soon")
    refused = service.curl("/health")
    assert refused.returncode != 0
    wait_until(lambda: service.show("ActiveState") == "failed", "the end")
    service.machine.run("sleep", "2.5")
    assert len(errors(service)) == 1


SQUATTER = """#!/usr/bin/python3
import os, socket, time

held = []
for name, mode in (("open", 0o666), ("closed", 0o600)):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind(f"/run/tifftock/{name}.sock")
    os.chmod(f"/run/tifftock/{name}.sock", mode)
    held[-1].listen()
other = socket.create_server(("127.0.0.1", 5000))
# Type=exec would be too early.
open("/run/squatter-is-there", "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize(
    "address", [TCP, "unix:/run/tifftock/open.sock", "unix:/run/tifftock/closed.sock"], ids=["tcp", "unix", "closed"]
)
def test_a_socket_that_cannot_be_had_says_who_has_it(service, address):
    service.machine.write("/usr/local/bin/squatter", SQUATTER, "0755")
    service.override("Restart=no", "RuntimeDirectoryPreserve=yes")
    service.machine.run("systemd-run", "--unit=squatter", "/usr/local/bin/squatter")
    wait_until(lambda: service.machine.run("ls", "/run/squatter-is-there", check=False).returncode == 0, "the squatter")
    service.set(API_URL=address, API_KEY=KEY)
    assert not started(service)
    assert service.show("ExecMainStatus") == "69"
    [line] = errors(service)
    assert address.removeprefix("http://") in line
    pid = service.show("MainPID", "squatter")
    assert re.search(rf"\b(squatter|{pid}|root|uid 0)\b", line)


# ---- credentials


def accepts(service, key):
    answer = service.curl("/health", "--header", f"x-api-key: {key}", address=(TCP,))
    return '"status": "ok"' in answer.stdout


def set_credential(service):
    return f"SetCredential=API_KEY:{KEY}"


def load_credential(service):
    service.machine.write("/root/api-key", KEY, "0600")
    return "LoadCredential=API_KEY:/root/api-key"


def load_credential_with_newline(service):
    service.machine.write("/root/api-key", f"{KEY}\n", "0600")
    return "LoadCredential=API_KEY:/root/api-key"


def load_encrypted(service):
    service.machine.shell("systemd-creds encrypt --with-key=host --name=API_KEY - /root/api-key.cred", stdin=KEY)
    return "LoadCredentialEncrypted=API_KEY:/root/api-key.cred"


def set_encrypted(service):
    made = service.machine.shell("systemd-creds encrypt --with-key=host --pretty --name=API_KEY - -", stdin=KEY)
    return made.stdout.strip()


@pytest.mark.parametrize(
    "credential", [set_credential, load_credential, load_credential_with_newline, load_encrypted, set_encrypted]
)
def test_a_secret_comes_as_a_credential(service, credential):
    service.set(API_URL=TCP)
    service.override(credential(service))
    service.restart()
    assert accepts(service, KEY)
    assert not accepts(service, "another")
    assert KEY not in service.machine.run("cat", f"/proc/{service.pid}/environ").stdout
    assert KEY not in service.journal("--output=verbose")
    seen = service.output("import os; print(os.environ.get('API_KEY'), 'CREDENTIALS_DIRECTORY' in os.environ)")
    assert seen == f"{KEY} False"
