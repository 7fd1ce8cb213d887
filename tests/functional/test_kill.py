"""SIGKILL to all processes of the daemon at once: what was promised holds, as clients and receivers can tell."""

import random

from tests.daemon import wait_until
from tests.faults.contradictions import check
from tests.faults.kills import run_kills
from tests.faults.outside import MARK, key_of, marks
from tests.faults.processes import kill_all
from tests.servers import Answer, HttpServer, MailServer

KILLS = 10


def restart_killed(daemon):
    kill_all(daemon)
    daemon.start()


def key_in_history(daemon, reminder):
    keys = {entry["key"] for entry in daemon.history(reminder)}
    assert len(keys) == 1
    return keys.pop()


def test_the_history_of_a_daemon_that_is_killed_again_and_again_contradicts_no_promise(tmp_path):
    seed = random.randrange(1_000_000)
    life = run_kills(tmp_path, seed, KILLS)
    found = check(life.history)
    assert not found, f"seed {seed}:\n" + "\n".join(map(str, found))
    assert life.integrity == "ok"
    # Not so much luck as it seems: each is in the dozens.
    assert life.figures["interrupted"] > 0
    assert life.figures["repeated effects"] > 0
    assert life.figures["uncertain"] > 0


def test_a_request_that_is_repeated_after_a_crash_has_the_key_of_its_arming(daemon):
    with HttpServer(Answer(manner="hang"), Answer(manner="hang"), Answer(200)) as receiver:
        daemon.start()
        made = daemon.remind(method="api", to=receiver.url, retries=0)
        for crashes in (1, 2):
            receiver.wait(crashes)
            restart_killed(daemon)
        daemon.outcome(made, 3)
        assert [entry["outcome"] for entry in daemon.history(made)] == ["interrupted", "interrupted", "delivered"]
        other = daemon.remind(method="api", to=receiver.url)
        daemon.outcome(other)
        keys = [request.headers["idempotency-key"] for request in receiver.requests]
    assert keys == [made["key"]] * 3 + [other["key"]]
    assert key_in_history(daemon, made) == made["key"] != other["key"]


def test_a_mail_that_is_repeated_after_a_crash_has_the_message_id_of_its_arming(daemon):
    # The mail has been taken by then, and no attempt has an outcome yet.
    with MailServer(replies={"QUIT": "hang"}) as server:
        daemon.settings |= {
            "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(server.port), "SMTP_SECURITY": "none",
            "EMAIL_FROM": "tock@example.org", "EMAIL_TO": "ann@example.org",
        }  # fmt: skip
        daemon.start()
        made = daemon.remind(method="email", retries=0)
        for crashes in (1, 2):
            server.wait(crashes)
            restart_killed(daemon)
        server.wait(3)
        del server.replies["QUIT"]
        daemon.outcome(made, 3)
        assert [entry["outcome"] for entry in daemon.history(made)] == ["interrupted", "interrupted", "delivered"]
        other = daemon.remind(method="email")
        daemon.outcome(other)
        keys = [key_of(mail) for mail in server.mails]
    assert keys == [made["key"]] * 3 + [other["key"]]
    assert key_in_history(daemon, made) == made["key"] != other["key"]


def test_a_new_arming_after_a_crash_has_a_key_of_its_own(daemon):
    with HttpServer(Answer(manner="hang"), Answer(404), Answer(200)) as receiver:
        daemon.start()
        made = daemon.remind(method="api", to=receiver.url)
        receiver.wait(1)
        restart_killed(daemon)
        wait_until(lambda: daemon.state(made) == "failed", "the receiver's refusal")
        armed = daemon.request("PATCH", f"/reminder/{made['id']}", {}).json
        daemon.outcome(made, 3)
        keys = [request.headers["idempotency-key"] for request in receiver.requests]
    assert keys == [made["key"], made["key"], armed["key"]]
    assert armed["key"] != made["key"]


def test_what_must_not_be_repeated_ends_uncertain_and_stays_so(daemon, tmp_path):
    file = tmp_path / "marks"
    daemon.dropin("mark.py", MARK)
    daemon.start()
    # One is cut off after its effect, one before: nobody can tell which.
    after = daemon.remind(method="once", options={"file": str(file), "after": 30})
    before = daemon.remind(method="once", message="before", options={"file": str(file), "before": 30})
    wait_until(lambda: marks(file), "the effect")
    wait_until(lambda: daemon.get("/health")["counts"]["firing"] == 2, "both attempts")
    for _ in range(2):
        restart_killed(daemon)
        for made in (after, before):
            assert daemon.state(made) == "uncertain"
            (entry,) = daemon.history(made)
            assert entry["outcome"] == "uncertain"
            assert "may have happened" in entry["error"]
    assert [effect.reminder for effect in marks(file)] == [after["id"]]
    # It is for a person to say that it may happen again, and then it is another arming.
    armed = daemon.request("PATCH", f"/reminder/{before['id']}", {"options": {"file": str(file)}}).json
    assert daemon.outcome(before, 2)["outcome"] == "delivered"
    assert [effect.key for effect in marks(file)] == [after["key"], armed["key"]]
    assert armed["key"] != before["key"]
