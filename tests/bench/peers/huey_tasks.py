"""Huey on SQLite, synced and with stored results: the module that its consumer imports, and the one who schedules.

`python huey_tasks.py LEAD`, with the offsets of the instants, in microseconds, as JSON on standard input, schedules a
task for each and prints the instant that they are counted from.
"""

import json
import os
import sys
import time
from datetime import datetime

from huey import SqliteHuey

huey = SqliteHuey(filename=os.environ["HUEY_DATABASE"], fsync=True, results=True, store_none=True, utc=False)
NOTES = os.open(os.environ["HUEY_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


@huey.task()
def remind(message):
    now = time.time_ns() // 1000
    os.write(NOTES, f"{message} {now}\n".encode())


def main():
    offsets = json.loads(sys.stdin.readline())
    start = time.time_ns() // 1000 + int(sys.argv[1])
    dues = [start + offset for offset in offsets]
    told = dues if len(set(dues)) > 1 else range(1, len(dues) + 1)
    for message, due in zip(told, dues, strict=True):
        remind.schedule((str(message),), eta=datetime.fromtimestamp(due / 1e6))
    print(start, time.time_ns() // 1000 < start, flush=True)


if __name__ == "__main__":
    from huey_tasks import main as imported_main  # the tasks' names must be the consumer's

    imported_main()
