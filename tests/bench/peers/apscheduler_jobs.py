"""APScheduler 3 with jobs in SQLite, as its guide sets it up: a BackgroundScheduler and its ten threads.

`python apscheduler_jobs.py DATABASE NOTES OTHERS LEAD`, with the offsets of the instants, in microseconds, as JSON on
standard input. Prints the instant that they are counted from, once it runs; ends when its input does.

SQLite is as SQLAlchemy opens it: a rollback journal, synchronous=FULL. A job leaves the store when it is handed to a
thread; what became of it is not recorded. A grace without end: with the default of one second most of a burst is lost.
"""

import json
import os
import pickle
import sys
import time
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

NOTES = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def remind(message):
    now = time.time_ns() // 1000
    os.write(NOTES, f"{message} {now}\n".encode())


def store(jobs, scheduler, wanted):
    """What `add_job` would have stored, one by one and in seconds a thousand: pairs of a message and an instant."""
    template = scheduler.add_job(remind, "date", args=["0"], misfire_grace_time=None)
    scheduler.remove_job(template.id)
    state = template.__getstate__()
    rows = []
    for number, (message, instant) in enumerate(wanted):
        when = datetime.fromtimestamp(instant / 1e6, UTC)
        state |= {"id": f"{number:032x}", "args": (message,), "trigger": DateTrigger(when), "next_run_time": when}
        rows.append({"id": state["id"], "next_run_time": instant / 1e6, "job_state": pickle.dumps(state)})
    with jobs.engine.begin() as connection:
        connection.execute(jobs.jobs_t.insert(), rows)


def main():
    _, database, _, others, lead = sys.argv
    offsets = json.loads(sys.stdin.readline())
    jobs = SQLAlchemyJobStore(url=f"sqlite:///{database}")
    scheduler = BackgroundScheduler(jobstores={"default": jobs})
    scheduler.start(paused=True)
    later = datetime.now(UTC) + timedelta(days=36_500)
    start = time.time_ns() // 1000 + int(lead)
    dues = [start + offset for offset in offsets]
    # The message is the due instant; where all are due at one, they are told apart.
    told = dues if len(set(dues)) > 1 else range(1, len(dues) + 1)
    wanted = [(str(message), due) for message, due in zip(told, dues, strict=True)]
    store(jobs, scheduler, wanted + [("0", later.timestamp() * 1e6 + number) for number in range(int(others))])
    scheduler.resume()
    print(start, time.time_ns() // 1000 < start, flush=True)
    sys.stdin.read()


main()
