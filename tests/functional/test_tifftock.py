"""TiffTock's users must not notice: their `.env`, their requests and their classes, the import line apart."""

import base64
import http.client
import itertools
import json
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from types import SimpleNamespace
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest

from tests.daemon import PATIENCE, Daemon, end, wait_until
from tests.servers import Answer, HttpServer

KEY = "5f0c" * 16
# The server's zone, in which TiffTock read all times: not UTC, and not with whole hours.
ZONE = "Asia/Kolkata"
# The last parts of loopback addresses for those who have no key
GUESSERS = itertools.count(2)
TWILIO_TOOK_IT = Answer(201, json.dumps({"sid": "SM1", "status": "queued"}))

# All the names that TiffTock knew. Quotes, comments and empty lines are python-dotenv's as ever.
ENV = """\
# my own server
API_KEY={key}
API_URL={address}

TWILIO_ACCOUNT_SID=AC00000000000000000000000000000001
TWILIO_AUTH_TOKEN='token-of-twilio'
TWILIO_PHONE_NUMBER_FROM=+15005550006
TWILIO_PHONE_NUMBER_TO=+15005550009

MAILGUN_API_KEY="key-of-mailgun"
MAILGUN_EMAIL_DOMAIN=mg.example.org
MAILGUN_EMAIL_FROM=tiff@mg.example.org
MAILGUN_EMAIL_TO=ann@example.org

API_REMIND_URL={target}/employees
"""

# A class as TiffTock's users wrote them, in the shape of its own ones. Only the first line is another.
LAMP = """\
from tifftockd import RemindProcess
import os
import requests

class LampRemindProcess(RemindProcess):
  def __init__(self, reminder):
    self.__setup_lamp()
    super().__init__(reminder)
    self.title = f"{reminder.get('id')} at {reminder['when']}: {reminder['message']}"

  def __setup_lamp(self):
    if os.environ.get('LAMP_URL') is None:
      raise ValueError('LAMP_URL is required')

    self.lamp_url = os.environ['LAMP_URL']

  def remind(self, message: str):
    response = requests.post(self.lamp_url, json={'on': message, 'title': self.title, 'id': self.id, 'when': self.when})

    return response
"""

# One that takes the place of a built-in method, by its name alone.
OWN_EMAIL = """\
from tifftockd import RemindProcess
import os
import requests

class EmailRemindProcess(RemindProcess):
  def __init__(self, reminder):
    self.__setup_mail()
    super().__init__(reminder)

  def __setup_mail(self):
    if os.environ.get('MAILGUN_EMAIL_TO') is None:
      raise ValueError('MAILGUN_EMAIL_TO is required')

    self.mailgun_email_to = os.environ['MAILGUN_EMAIL_TO']

  def remind(self, message: str):
    return requests.post(os.environ['API_REMIND_URL'], json={'letter': message, 'for': self.mailgun_email_to})
"""


@dataclass
class TiffTock(Daemon):
    """A daemon in a folder with TiffTock's `.env`, asked over TCP as TiffTock was."""

    port: int = 0

    def prepare(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        return super().prepare()

    def call(self, method, path, body=None, headers=None, source=None):
        headers = {"x-api-key": KEY} if headers is None else headers
        if body is not None:
            body, headers = json.dumps(body), {"Content-Type": "application/json", **headers}
        connection = http.client.HTTPConnection("localhost", self.port, PATIENCE, source and (source, 0))
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()

    def request(self, method, path, body=None, headers=None):
        """The harness's way in, for what TiffTock did not have."""
        status, answer = self.call(method, path, body, headers)
        return SimpleNamespace(status=status, json=answer)

    def create(self, method, message, ahead=0.0):
        """A reminder in so many seconds, as TiffTock's users say it; its id and its due instant."""
        due = datetime.now(ZoneInfo(ZONE)) + timedelta(seconds=ahead)
        when = due.replace(tzinfo=None).isoformat()
        status, answer = self.call("POST", "/remind", {"when": when, "message": message, "method": method})
        assert status == HTTPStatus.CREATED, answer
        return answer, due


@contextmanager
def tifftock_in(folder, settings, target, dropin, more_addresses=""):
    daemon = TiffTock(folder, {"TZ": ZONE, **settings}).prepare()
    address = f"http://localhost:{daemon.port} {more_addresses}"
    (folder / ".env").write_text(ENV.format(key=KEY, address=address, target=target))
    daemon.dropin("mine.py", dropin)
    try:
        yield daemon.start()
    finally:
        end(daemon)


@pytest.fixture(scope="module")
def world():
    """What is at the other end of TiffTock's methods, and of a user's own."""
    with HttpServer() as mailgun, HttpServer(TWILIO_TOOK_IT) as twilio, HttpServer() as target, HttpServer() as lamp:
        yield SimpleNamespace(mailgun=mailgun, twilio=twilio, target=target, lamp=lamp)


@pytest.fixture(scope="module")
def tifftock(world, tmp_path_factory):
    # Where Mailgun and Twilio are is no setting of TiffTock's: this is the one seam.
    settings = {"MAILGUN_API_URL": world.mailgun.url, "TWILIO_API_URL": world.twilio.url, "LAMP_URL": world.lamp.url}
    folder = tmp_path_factory.mktemp("tifftock")
    with tifftock_in(folder, settings, world.target.url, LAMP) as daemon:
        yield daemon


TOMORROW = (datetime.now(ZoneInfo(ZONE)).replace(tzinfo=None) + timedelta(days=1)).isoformat(timespec="seconds")

# ---- the requests


def test_a_reminder_is_created_read_listed_and_deleted(tifftock):
    sent = {"when": TOMORROW, "message": "buy milk", "method": "email"}
    status, created = tifftock.call("POST", "/remind", sent)
    assert status == 201
    assert isinstance(created["id"], int)

    status, read = tifftock.call("GET", f"/reminder/{created['id']}")
    assert status == 200
    assert {name: read[name] for name in ("id", "message", "method")} == {
        "id": created["id"],
        "message": "buy milk",
        "method": "email",
    }
    # It was the server's local time, and is so still; now with the offset.
    when = datetime.fromisoformat(read["when"])
    assert when.replace(tzinfo=None).isoformat() == TOMORROW
    assert when.utcoffset() == timedelta(hours=5, minutes=30)

    status, listed = tifftock.call("GET", "/reminders")
    assert status == 200
    assert isinstance(listed, list)
    [mine] = [reminder for reminder in listed if reminder["id"] == created["id"]]
    assert {"id", "when", "message", "method"} <= mine.keys()

    assert tifftock.call("DELETE", f"/reminder/{created['id']}") == (204, None)
    for method in ("GET", "DELETE"):
        status, answer = tifftock.call(method, f"/reminder/{created['id']}")
        assert status == 404
        assert answer["error"]


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"x-api-key": ""}], ids=["none", "wrong", "empty"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/remind"),
        ("GET", "/reminder/1"),
        ("DELETE", "/reminder/1"),
        ("GET", "/reminders"),
        ("GET", "/no/such/page"),
    ],
)
def test_without_the_key_nothing_is_answered(tifftock, method, path, headers):
    # From an address of its own: after a few wrong keys an answer waits.
    source = f"127.0.0.{next(GUESSERS)}"
    status, answer = tifftock.call(method, path, {} if method == "POST" else None, headers, source)
    assert (status, answer["error"]) == (401, "invalid api key")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"when": None}, "when"),
        ({"message": None}, "message"),
        ({"method": None}, "method"),
        ({"when": "soon"}, "when"),
        ({"when": "2035-13-01T09:00:00"}, "when"),
        ({"method": "pigeon"}, "method"),
    ],
    ids=str,
)
def test_what_is_missing_or_wrong_is_a_400_that_says_so(tifftock, change, named):
    body = {"when": TOMORROW, "message": "buy milk", "method": "email"} | change
    status, answer = tifftock.call(
        "POST", "/remind", {name: value for name, value in body.items() if value is not None}
    )
    assert (status, answer["field"]) == (400, named)
    assert isinstance(answer["error"], str)


@pytest.mark.parametrize("path", ["/reminder/999999", "/reminder/abc"])
def test_an_unknown_reminder_is_a_404(tifftock, path):
    for method in ("GET", "DELETE"):
        status, answer = tifftock.call(method, path)
        assert status == 404
        assert answer["error"]


# ---- the methods


def test_api_posts_the_message_at_the_servers_local_time(tifftock, world):
    made, due = tifftock.create("api", "milk, please: 2 l", ahead=1)
    assert tifftock.outcome(made)["outcome"] == "delivered"
    [request] = [request for request in world.target.requests if b"milk, please" in request.body]
    assert (request.method, request.target) == ("POST", "/employees")
    assert request.headers["content-type"] == "application/json"
    assert request.json() == {"message": "milk, please: 2 l"}
    assert 0 <= request.at - due.timestamp() < PATIENCE


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_email_goes_to_mailgun(tifftock, world):
    made, _ = tifftock.create("email", "call the bank")
    assert tifftock.outcome(made)["outcome"] == "delivered"
    [request] = world.mailgun.requests
    assert (request.method, request.target) == ("POST", "/v3/mg.example.org/messages")
    assert request.headers["authorization"] == basic("api", "key-of-mailgun")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assert (form["from"], form["to"]) == (["tiff@mg.example.org"], ["ann@example.org"])
    assert form["text"] == ["call the bank"]
    assert all(form["subject"])


def test_sms_goes_to_twilio(tifftock, world):
    made, _ = tifftock.create("sms", "call the bank")
    assert tifftock.outcome(made)["outcome"] == "delivered"
    [request] = world.twilio.requests
    account = "AC00000000000000000000000000000001"
    assert (request.method, request.path) == ("POST", f"/2010-04-01/Accounts/{account}/Messages.json")
    assert request.headers["authorization"] == basic(account, "token-of-twilio")
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assert form == {"Body": ["call the bank"], "From": ["+15005550006"], "To": ["+15005550009"]}


# ---- the classes


def test_a_users_class_runs_below_its_import_line(tifftock, world):
    made, due = tifftock.create("lamp", "on")
    entry = tifftock.outcome(made)
    # What it returns, a Response, is no JSON and nobody's business.
    assert (entry["outcome"], entry["error"], entry["output"]) == ("delivered", None, None)
    [request] = world.lamp.requests
    said = request.json()
    assert (said["on"], said["id"]) == ("on", made["id"])
    assert said["title"] == f"{made['id']} at {made['when']}: on"
    assert datetime.fromisoformat(said["when"]) == due


def test_a_users_class_that_lacks_a_setting_says_which_and_is_tried_again(world, tmp_path):
    with tifftock_in(tmp_path, {"RETRY_DELAY": "10ms"}, world.target.url, LAMP) as tifftock:
        made, _ = tifftock.create("lamp", "on")
        entries = wait_until(lambda: len(found := tifftock.history(made)) > 1 and found, "a second attempt")
        assert entries[0]["outcome"] == "failed"
        assert entries[0]["error"] == "ValueError: LAMP_URL is required"


def test_a_users_class_takes_the_place_of_a_built_in_one_and_both_ways_in_are_open(world, tmp_path):
    local = Daemon(tmp_path)
    with tifftock_in(tmp_path, {}, world.target.url, OWN_EMAIL, f"unix:{local.socket_path}") as tifftock:
        # No key is asked for on the socket, and what one way has taken the other shows.
        made = local.remind(when=TOMORROW, message="dear Ann", method="email")
        assert made["owner"] == os.getuid()
        assert tifftock.call("GET", f"/reminder/{made['id']}") == (200, made)
        assert tifftock.call("GET", "/reminders", headers={})[0] == 401

        # On a busy machine its import takes longer than the daemon's start waits for it.
        wait_until(lambda: not local.get("/handlers")["loading"], "the user's class")
        made, _ = tifftock.create("email", "dear Bob")
        assert made["owner"] is None
        assert tifftock.outcome(made)["outcome"] == "delivered"
        [letter] = [request.json() for request in world.target.requests if b"dear Bob" in request.body]
        assert letter == {"letter": "dear Bob", "for": "ann@example.org"}
        assert not [request for request in world.mailgun.requests if b"dear" in request.body]
