"""What the tests of repeating share: when the zones change their offset, and what an expression then means.

The meaning is found out by walking through real instants and asking what a wall clock shows: nothing here knows of the
code that it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

WEEK = timedelta(weeks=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Change:
    """An instant from which on a zone has another offset."""

    zone: str
    at: datetime
    before: timedelta
    after: timedelta

    @property
    def kind(self) -> tuple[timedelta, timedelta, object]:
        """The same for all changes that differ in their date alone."""
        return self.before, self.after, (self.at + self.before).time()


def changes(zone: str, first: int = 2024, last: int = 2037) -> Iterator[Change]:
    """All changes of a zone in these years that outlast a week, as all of them do."""
    tz = ZoneInfo(zone)
    early, before = datetime(first, 1, 1, tzinfo=UTC), datetime(first, 1, 1, tzinfo=UTC).astimezone(tz).utcoffset()
    while early.year <= last:
        late = early + WEEK
        after = late.astimezone(tz).utcoffset()
        if after != before:
            low, high = early, late
            while high - low > SECOND:
                middle = (low + (high - low) / 2).replace(microsecond=0)
                if middle.astimezone(tz).utcoffset() == before:
                    low = middle
                else:
                    high = middle
            yield Change(zone, high, before, after)
        early, before = late, after


def by_the_clock(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, list[datetime]]]:
    """Each minute in (start, end], and the times that the clock of a zone reaches at it for the first time.

    A clock that jumps forward reaches all that it jumps over; one that is set back reaches nothing for a while.
    """
    tz = ZoneInfo(zone)
    reached = max(
        (start - minute * MINUTE).astimezone(tz).replace(tzinfo=None)
        for minute in range(180)  # what it showed before may have been later
    )
    minutes = []
    instant = start + MINUTE
    while instant <= end:
        shown = instant.astimezone(tz).replace(tzinfo=None)
        times = []
        while reached < shown:
            reached += MINUTE
            times.append(reached)
        minutes.append((instant, times))
        instant += MINUTE
    return minutes


def across(change: Change) -> Iterator[tuple[str, str, Callable[[datetime], bool]]]:
    """Expressions about the time of a change, as OnCalendar and as cron, and which minutes each of them means."""
    yield "*:*", "* * * * *", lambda wall: True
    yield "*:0/15", "*/15 * * * *", lambda wall: wall.minute % 15 == 0
    edges = change.at + change.before, change.at + change.after
    length = abs(change.after - change.before)
    times = {edge + shift for edge in edges for shift in (-length, -MINUTE, MINUTE * 0, MINUTE, length / 2)}
    for hour, minute in sorted({(time.hour, time.minute) for time in times}):
        yield (
            f"{hour:02}:{minute:02}",
            f"{minute} {hour} * * *",
            lambda wall, daily=(hour, minute): (wall.hour, wall.minute) == daily,
        )
