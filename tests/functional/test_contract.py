"""/openapi.json against the code, against real answers, and against what schemathesis thinks of."""

import ast
import http.client
import json
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from jsonschema import Draft202012Validator

import tifftockd
from tests import contract
from tests.contract import Contract
from tests.daemon import NOTE, running
from tifftockd import __version__, errors
from tifftockd.api.app import ROUTES
from tifftockd.api.errors import STATUS
from tifftockd.api.fields import FIELDS
from tifftockd.api.schemas import KINDS
from tifftockd.handlers.content import KINDS as OPTION_KINDS
from tifftockd.handlers.spec import TYPES
from tifftockd.reminder import Outcome, State

PACKAGE = Path(tifftockd.__file__).parent
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    with running(folder, API_URL=f"unix:{folder}/run/tifftock.sock http://127.0.0.1:0", API_KEY="key") as started:
        started.dropin("note.py", NOTE)
        started.dropin("broken.py", "import nothing_of_that_name\n")
        started.reload()
        yield started


@pytest.fixture(scope="module")
def document(daemon):
    return daemon.get("/openapi.json")


def operations(document):
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def schema(document, name):
    return document["components"]["schemas"][name]


# ---- against the code


def test_it_describes_every_route_with_its_parameters_and_nothing_else(document):
    described = {(method.upper(), path): operation for method, path, operation in operations(document)}
    routes = {(route.method, route.path.replace("<id>", "{id}")): route for route in ROUTES}
    assert described.keys() == routes.keys()
    for key, route in routes.items():
        named = {(one["in"], one["name"]) for one in described[key].get("parameters", [])}
        wanted = {("query", one.name) for one in route.query} | {("header", one.name) for one in route.headers}
        assert named == wanted | ({("path", "id")} if "<id>" in route.path else set())
        assert ("requestBody" in described[key]) == (route.takes is not None)
        assert described[key]["summary"]
    assert len({operation["operationId"] for operation in described.values()}) == len(routes)
    assert (document["openapi"], document["info"]["version"]) == ("3.1.1", __version__)


def test_each_status_that_an_error_has_is_described(document):
    statuses = {status.value for status in STATUS.values()} - {405}
    described = {int(status) for _, _, operation in operations(document) for status in operation["responses"]}
    assert statuses <= described


def test_it_has_the_fields_of_a_reminder_and_no_others(document):
    for method in ("log", "api", "note", "once"):
        new = schema(document, f"NewReminder.{method}")
        assert new["properties"].keys() == FIELDS.keys()
        assert new["additionalProperties"] is False
        form = schema(document, f"NewReminderForm.{method}")
        assert {name for name in form["properties"] if "." not in name} == FIELDS.keys() - {"options"}
    # Methods that lack a setting cannot be used. Apprise, for notify, need not be installed.
    usable = schema(document, "NewReminder")["discriminator"]["mapping"].keys() - {"notify"}
    assert usable == {"api", "log", "note", "once"}
    for change in schema(document, "Change")["anyOf"]:
        assert change["properties"].keys() | {"method"} == FIELDS.keys()


def kinds():
    """Each `kind` that the sources give to an error."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "kind" and isinstance(node.value, ast.Constant):
                yield node.value.value
    for cls in vars(errors).values():
        if isinstance(cls, type) and any(issubclass(cls, answered) for answered in STATUS if cls not in SILENT):
            yield cls.kind


# Never answered with: what stops the daemon, bases, and what is no error to the client.
SILENT = {
    *(errors.ConfigError, errors.StoreError, errors.ListenError, errors.LoadError),
    *(errors.Unavailable, errors.Replayed),
}


def test_it_has_each_kind_of_error(document):
    assert {*kinds(), "http_version", "not_implemented"} == {*KINDS}
    assert schema(document, "Error")["properties"]["kind"]["enum"] == [*KINDS]


def test_its_schemas_are_schemas_and_its_references_lead_somewhere(document):
    for one in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(one)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= document["components"]["schemas"].keys()
    # Each but the document's own parts is used.
    assert document["components"]["schemas"].keys() <= named


def test_over_tcp_it_says_that_a_key_is_needed_and_that_nobody_is_me(daemon, document):
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)", daemon.log_text())[1])
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/openapi.json", headers={"x-api-key": "key"})
    over_tcp = json.loads(connection.getresponse().read())
    connection.close()
    assert document["security"] == []
    assert over_tcp["security"] == [{"key": []}, {"bearer": []}]
    assert '"me"' in json.dumps(document["paths"])
    assert '"me"' not in json.dumps(over_tcp["paths"])


# ---- against real answers


def test_its_examples_work(daemon, document):
    made = daemon.remind(**{"in": "1h"})
    for method, path, operation in operations(document):
        for content_type, content in operation.get("requestBody", {"content": {}})["content"].items():
            for example in content["examples"].values():
                value = example["value"]
                Contract(document).validator(content["schema"]).validate(value)
                body = json.dumps(value) if content_type == "application/json" else urlencode(value)
                where = path.replace("{id}", str(made["id"]))
                answer = daemon.request(method.upper(), where, body, {"Content-Type": content_type})
                assert answer.status in {200, 201}, answer


def test_what_is_answered_is_described(daemon, document):
    """The tests of the routes hold all their answers against it too, on a clock and a store of their own."""
    measure = Contract(document)

    def ask(method, path, body=None, **headers):
        answer = daemon.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        measure.check(method, path, answer.status, answer.headers, answer.text.encode())
        return answer

    log = {"in": "1h", "message": "tea", "method": "log", "tz": "Asia/Tokyo", "to": "me", "max_late": "90min"}
    ids = [ask("POST", "/remind", log).json["id"]]
    ids += [one["id"] for one in ask("POST", "/reminders", [log, log], Idempotency_Key="k").json]
    assert ask("POST", "/reminders", [log, log], Idempotency_Key="k").headers["Idempotent-Replayed"] == "true"
    note = {"in": 0, "message": "x", "method": "note", "retries": 0}
    failing = ask("POST", "/remind", note | {"options": {"file": "/nowhere/at/all"}}).json
    daemon.outcome(failing)
    waiting = ask("POST", "/remind", note | {"options": {"file": "/nowhere/at/all"}, "retries": 5}).json
    daemon.outcome(waiting)
    delivered = ask("POST", "/remind", note | {"options": {"file": str(daemon.folder / "notes")}}).json
    assert daemon.outcome(delivered)["outcome"] == "delivered"
    for path in (
        *("/reminders", "/reminders?limit=1", "/reminders?state=all", "/reminders?state=failed"),
        *("/history", "/history?limit=1", "/handlers", "/health", "/metrics", "/openapi.json"),
        *(f"/reminder/{id_}" for id_ in (*ids, failing["id"], waiting["id"])),
    ):
        assert ask("GET", path).status == 200
        assert ask("HEAD", path).status == 200
    assert ask("PATCH", f"/reminder/{ids[0]}", {"message": "coffee"}).status == 200
    assert ask("PATCH", f"/reminder/{failing['id']}", {"in": "1h"}).status == 200
    for id_ in (*ids, failing["id"], waiting["id"]):
        assert ask("DELETE", f"/reminder/{id_}").status == 204
    for status, *request in (
        (400, "POST", "/remind", {}),
        (400, "POST", "/reminders", [{}, 7]),
        (400, "GET", "/history?x=y"),
        (404, "GET", "/reminder/999999"),
        (404, "PATCH", "/reminder/999999", {}),
        (404, "DELETE", "/reminder/999999"),
        (404, "GET", "/nothing"),
        (405, "PUT", "/remind"),
        (409, "POST", "/reminders", [log]),
        (413, "POST", "/remind", " " * 65_537),
    ):
        assert ask(*request, **({"Idempotency_Key": "k"} if status == 409 else {})).status == status


def test_all_outcomes_and_states_are_described(document):
    assert schema(document, "Entry")["properties"]["outcome"]["enum"] == [*Outcome]
    assert schema(document, "Reminder")["properties"]["state"]["enum"] == [*State]


def test_each_kind_of_option_that_a_class_may_declare_is_described(document):
    methods = schema(document, "Handlers")["properties"]["methods"]["items"]["properties"]
    assert {*methods["options"]["additionalProperties"]["anyOf"][0]["enum"]} == {*TYPES, *OPTION_KINDS}


def edges(schema):
    """What is just allowed, and what is just not, of a number or a text."""
    if "maxLength" in schema:
        yield from (("x" * schema["minLength"], True), ("x" * schema["maxLength"], True))
        yield from (("x" * (schema["minLength"] - 1), False), ("x" * (schema["maxLength"] + 1), False))
    if "maximum" in schema:
        yield from ((schema["minimum"], True), (schema["maximum"], True))
        yield from ((schema["minimum"] - 1, False), (schema["maximum"] + 1, False))


@pytest.mark.parametrize("name", ["message", "retries", "in", "max_late", "to"])
def test_the_limits_of_a_field_are_where_it_says(daemon, document, name):
    part = schema(document, "NewReminder.log")["properties"][name]
    if "$ref" in part:
        part = schema(document, part["$ref"].rpartition("/")[2])
    found = [edge for one in part.get("anyOf", [part]) for edge in edges(one)]
    assert len(found) >= 4
    for value, allowed in found:
        body = {"in": "1h", "message": "x", "method": "log"} | {name: value}
        answer = daemon.request("POST", "/remind", body)
        assert answer.status == (201 if allowed else 400), (name, value)
        assert Contract(document).validator({"$ref": "#/components/schemas/NewReminder"}).is_valid(body) == allowed


def test_the_limits_of_a_parameter_are_where_it_says(daemon, document):
    asked = 0
    made = daemon.remind(**{"in": "1h"})
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            for one in parameter["schema"].get("anyOf", [parameter["schema"]]):
                for value, allowed in edges(one):
                    asked += 1
                    if parameter["in"] == "path":
                        # It may be, but there is none, or it cannot be: nobody can tell.
                        answer = daemon.request(method.upper(), path.replace("{id}", str(value)), '{"in": "1h"}')
                        assert answer.status in ({200, 204, 404, 409} if allowed else {404}), (method, path, value)
                    else:
                        where = path.replace("{id}", str(made["id"]))
                        answer = daemon.request(method.upper(), f"{where}?{parameter['name']}={value}")
                        assert answer.status == (200 if allowed else 400), (path, parameter["name"], value)
    assert asked >= 20


def test_a_measure_that_fits_everything_would_measure_nothing(document):
    measure = Contract(document)
    headers = {"Content-Type": "application/json"}
    good = b'{"error": "x", "kind": "invalid", "field": null}\n'
    measure.check("GET", "/reminder/1", 404, headers, good)
    for method, status, data in (
        ("GET", 404, good.replace(b"invalid", b"odd")),
        ("GET", 404, good.replace(b"}", b', "more": 1}')),
        ("GET", 404, good.replace(b', "field": null', b"")),
        ("GET", 418, good),
        ("GET", 200, good),
        ("GET", 404, b""),
    ):
        with pytest.raises(Exception, match=r"."):
            measure.check(method, "/reminder/1", status, headers, data)


# ---- against what a program thinks of

# Whatever a schema allows at its edges: for what has a body that is `python tests/soak contract`'s.
COVERAGE = """
[[operations]]
include-method = ["POST", "PATCH"]
phases.coverage.enabled = false
"""


def test_schemathesis_finds_nothing(tmp_path):
    """The same few thoughts each time: new ones are `python tests/soak contract`'s."""
    (tmp_path / "schemathesis.toml").write_text(COVERAGE)
    options = ("--phases=coverage,fuzzing,stateful", "--max-examples=3", "--workers=1", "--seed=1")
    with running(tmp_path) as daemon:
        found = contract.run(daemon.socket_path, tmp_path, *options)
        if found:
            pytest.fail(found, pytrace=False)
        for fault in contract.FAULTS:
            assert fault not in daemon.log_text()
