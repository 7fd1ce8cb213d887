"""A program of TiffTock's shape, the second process: polls the API every 10 s, and fires what comes due until then."""

import json
import os
import time
import urllib.request
from datetime import datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler

EVERY = 10
URL = os.environ["API_URL"]


def request(method, path):
    asked = urllib.request.Request(f"{URL}{path}", method=method, headers={"x-api-key": os.environ["API_KEY"]})
    with urllib.request.urlopen(asked) as answer:
        return answer.read()


def fire(reminder):
    request("DELETE", f"/reminder/{reminder['id']}")


def poll(scheduler):
    now = datetime.now()
    for reminder in json.loads(request("GET", "/reminders")):
        when = datetime.fromisoformat(reminder["when"])
        if now <= when < now + timedelta(seconds=EVERY):
            scheduler.add_job(fire, "date", run_date=when, args=[reminder], id=str(reminder["id"]))


def main():
    scheduler = BackgroundScheduler()
    scheduler.start()
    while True:
        poll(scheduler)
        time.sleep(EVERY)


main()
