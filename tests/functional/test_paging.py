"""Lists that are read page by page while rows come and go: what stays is there once."""

import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.functional.test_routes import api  # noqa: F401 a fixture


def pages(api, path, between):  # noqa: F811
    """Each page of a list, with something done before the next is asked for."""
    while path:
        status, said, headers = api.request("GET", path)
        assert status == 200, said
        yield said
        between()
        path = re.fullmatch('<(.+)>; rel="next"', headers["Link"])[1] if headers["Link"] else None


def create(api, count, draw):  # noqa: F811
    """Reminders, many of them due at the same instants: their ids."""
    fields = [{"in": 3600 + draw.randrange(20), "message": "x", "method": "log"} for _ in range(count)]
    status, made, _ = api.request("POST", "/reminders", fields)
    assert status == 201
    return [one["id"] for one in made]


@pytest.mark.parametrize("piece", [3, 500])
@pytest.mark.parametrize("seed", range(3))
def test_reminders_that_stay_are_listed_once_while_others_come_and_go(api, monkeypatch, piece, seed):  # noqa: F811
    monkeypatch.setattr("tifftockd.api.pages.PIECE", piece)
    draw = random.Random(seed)
    stay, go = create(api, 40, draw), create(api, 40, draw)
    gone = []

    def between():
        create(api, 5, draw)
        for _ in range(5):
            if go:
                gone.append(go.pop(draw.randrange(len(go))))
                assert api.request("DELETE", f"/reminder/{gone[-1]}")[0] == 204

    listed, places = [], []
    for page in pages(api, "/reminders?limit=7&method=log", between):
        listed += [one["id"] for one in page]
        places += [(one["when"], one["id"]) for one in page]
        assert not {one["id"] for one in page} & set(gone[:-5])
    assert len(listed) == len(set(listed))
    assert set(stay) <= set(listed)
    assert places == sorted(places)
    assert len(gone) == 40


@pytest.mark.parametrize("piece", [3, 500])
def test_history_that_was_there_is_listed_once_while_there_comes_more(api, monkeypatch, piece):  # noqa: F811
    monkeypatch.setattr("tifftockd.api.pages.PIECE", piece)
    draw = random.Random(1)

    def cancel_some():
        for id_ in create(api, 5, draw):
            api.request("DELETE", f"/reminder/{id_}")

    for _ in range(4):
        cancel_some()
    before = [entry["id"] for entry in api.get("/history")]
    listed = [entry["id"] for page in pages(api, "/history?limit=3&outcome=cancelled", cancel_some) for entry in page]
    assert listed == before


def test_a_place_is_good_when_what_was_there_has_gone(api):  # noqa: F811
    """Also when nothing behind it is left, or all in front of it."""
    first, second, third = sorted(create(api, 3, random.Random(2)))
    for id_, when in ((first, "13:30"), (second, "13:40"), (third, "13:50")):
        api.request("PATCH", f"/reminder/{id_}", {"when": f"2040-01-17T{when}"})
    _, page, headers = api.request("GET", "/reminders?limit=1")
    assert [one["id"] for one in page] == [first]
    path = re.match("<(.+)>", headers["Link"])[1]
    api.request("DELETE", f"/reminder/{first}")
    _, page, headers = api.request("GET", path)
    assert [one["id"] for one in page] == [second]
    for id_ in (second, third):
        api.request("DELETE", f"/reminder/{id_}")
    assert api.get(re.match("<(.+)>", headers["Link"])[1]) == []


def heap(daemon):
    """What malloc(3) holds for it, in MB of memory."""
    with open(f"/proc/{daemon.process.pid}/smaps") as maps:
        return int(re.search(r"\[heap\]\n.*?\nRss: +(\d+) kB", maps.read(), re.DOTALL)[1]) / 1000


def test_long_lists_to_many_at_once_leave_no_memory_behind(daemon):
    daemon.start()
    for _ in range(2):
        daemon.request("POST", "/reminders", [{"in": "1h", "message": "x" * 300, "method": "log"}] * 5000)
    before = heap(daemon)
    with ThreadPoolExecutor(8) as pool:
        assert all(len(one.json) == 10_000 for one in pool.map(lambda _: daemon.request("GET", "/reminders"), range(8)))
    assert daemon.request("GET", "/reminders").status == 200  # the last of all, alone
    assert heap(daemon) - before < 25
