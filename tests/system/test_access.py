"""Who may use the socket, and who made a reminder."""

import json

import pytest

from tests.system.service import DATABASE, SETTINGS

TEA = ("--data", '{"in": "1h", "message": "tea", "method": "log"}')


@pytest.mark.parametrize("user", ["root", "ann"])
def test_root_and_the_group_may_use_it_and_own_what_they_make(shared, user):
    uid = int(shared.machine.run("id", "--user", user).stdout)
    made = json.loads(shared.curl("/remind", *TEA, user=user).stdout)
    assert made["owner"] == uid
    mine = json.loads(shared.curl("/reminders?owner=me", user=user).stdout)
    assert [one["id"] for one in mine] == [made["id"]]


def test_others_are_refused_by_the_socket_itself(shared):
    refused = shared.curl("/remind", *TEA, user="bob")
    assert refused.returncode == 7, "curl: could not connect"
    assert refused.stdout == ""
    bob = shared.machine.run("id", "--user", "bob").stdout.strip()
    assert shared.get(f"/reminders?state=all&owner={bob}") == []


def test_the_group_opens_the_socket_and_nothing_else(shared):
    shared.set(API_KEY="a-key-that-nobody-guesses")
    for file in (SETTINGS, DATABASE):
        refused = shared.machine.run("cat", file, user="ann", check=False)
        assert "Permission denied" in refused.stderr, file
