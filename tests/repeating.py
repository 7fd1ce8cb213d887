"""What the tests of repeating share: expressions of every form, and what they mean by others than the code judged.

An expression is made together with the sets of numbers that it stands for, so that walking through the days finds its
times; systemd-analyze(1) says what systemd takes it for; and across a change of a zone's offset real instants are
walked through, asking what a wall clock shows.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from tifftockd import clock
from tifftockd.clock import micros, moment
from tifftockd.errors import InvalidInput
from tifftockd.repeat import occurrences, read_repeat

WEEK = timedelta(weeks=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

# ---- expressions


@dataclass(frozen=True)
class Field:
    """A part of an expression, and the numbers that it stands for."""

    text: str
    numbers: frozenset[int]
    # The same without a step that has no end: see `compare`.
    closed: str


@dataclass(frozen=True)
class Expression:
    """An expression, and when it is."""

    text: str
    closed: str
    on: Callable[[date], bool]
    hours: frozenset[int]
    minutes: frozenset[int]
    seconds: frozenset[int]

    def walls(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Its wall-clock times in (after, until]."""
        day = after.date()
        while day <= until.date():
            if self.on(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        for second in sorted(self.seconds):
                            wall = datetime(day.year, day.month, day.day, hour, minute, second)
                            if after < wall <= until:
                                yield wall
            day += DAY


class Maker:
    """Makes expressions by chance, the same ones of the same seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def _number(self, value: int) -> str:
        return f"{value:02}" if self.chance.random() < 0.5 else str(value)

    def _ranged(self, low: int, high: int, dash: str) -> tuple[str, int, int]:
        first, last = sorted(self.chance.sample(range(low, high + 1), 2))
        return f"{self._number(first)}{dash}{self._number(last)}", first, last

    def _term(self, low: int, high: int, dash: str, *, from_end: bool = False) -> Field:
        form = self.chance.random()
        if form < 0.4:
            number = self.chance.randint(low, high)
            text = self._number(number)
            return Field(text, frozenset([number]), text)
        if form < 0.7:
            text, first, last = self._ranged(low, high, dash)
            step = 1
            if self.chance.random() < 0.5:
                step = self.chance.randint(1, high)
                text = f"{text}/{step}"
            return Field(text, frozenset(range(first, last + 1, step)), text)
        first = (
            self.chance.randint(low + 1, high)
            if from_end
            else self.chance.choice([low, self.chance.randint(low, high - 1)])
        )
        step = self.chance.randint(1, first - low if from_end else high - first)
        numbers = range(first, low - 1, -step) if from_end else range(first, high + 1, step)
        text = f"{self._number(first)}/{step}"
        return Field(text, frozenset(numbers), ",".join(map(str, numbers)))

    def field(self, low: int, high: int, dash: str = "..", *, star: float = 0.4, from_end: bool = False) -> Field:
        """A field of one to three terms, or a star."""
        if self.chance.random() < star:
            return Field("*", frozenset(range(low, high + 1)), "*")
        many = self.chance.choice([1, 1, 1, 2, 3])
        # In a list systemd takes 28 less readily the longer it is: see `_explained_refusal`.
        terms = [self._term(low, min(high, 20) if from_end else high, dash, from_end=from_end) for _ in range(many)]
        return Field(
            ",".join(term.text for term in terms),
            frozenset().union(*(term.numbers for term in terms)),
            ",".join(term.closed for term in terms),
        )

    def _weekdays(self) -> tuple[str, frozenset[int]]:
        names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

        def name(number: int) -> str:
            shape = self.chance.choice([str, str, str.upper, str.lower])
            return shape(names[number] if self.chance.random() < 0.3 else names[number][:3])

        texts, numbers = [], set()
        for _ in range(self.chance.choice([1, 1, 2, 3])):
            if self.chance.random() < 0.6:
                texts.append(name(first := self.chance.randrange(7)))
                numbers.add(first)
            else:
                first, last = sorted(self.chance.sample(range(7), 2))
                texts.append(name(first) + self.chance.choice(["..", "-"]) + name(last))
                numbers.update(range(first, last + 1))
        return ",".join(texts) + ("," if self.chance.random() < 0.05 else ""), frozenset(numbers)

    def on_calendar(self) -> Expression:
        """Weekdays, a date and a time, or some of them."""
        every = Field("*", frozenset(range(1, 32)), "*")
        weekdays, years, months, days, from_end = frozenset(range(7)), frozenset(range(1970, 2200)), every, every, False
        zero = Field("0", frozenset([0]), "0")
        hours = minutes = seconds = zero
        texts, closed = [], []
        if self.chance.random() < 0.4:
            text, weekdays = self._weekdays()
            texts.append(text)
            closed.append(text)
        if self.chance.random() < 0.6:
            from_end = self.chance.random() < 0.25
            months = self.field(1, 12)
            days = self.field(1, 28 if from_end else 31, from_end=from_end)
            mark = "~" if from_end else "-"
            text, same = f"{months.text}{mark}{days.text}", f"{months.closed}{mark}{days.closed}"
            if self.chance.random() < 0.7:
                year = self.field(2024, 2199, star=0.6)
                years = year.numbers if year.text != "*" else years
                text, same = f"{year.text}-{text}", f"{year.closed}-{same}"
            from_end = from_end and days.text != "*"
            texts.append(text)
            closed.append(same)
        if not texts or self.chance.random() < 0.8:
            hours, minutes = self.field(0, 23), self.field(0, 59, star=0.2)
            parts = [hours, minutes]
            if self.chance.random() < 0.4:
                seconds = self.field(0, 59, star=0.1)
                parts.append(seconds)
            texts.append(":".join(part.text for part in parts))
            closed.append(":".join(part.closed for part in parts))

        def on(day: date) -> bool:
            in_month = monthrange(day.year, day.month)[1] + 1 - day.day if from_end else day.day
            return (
                day.weekday() in weekdays
                and day.year in years
                and day.month in months.numbers
                and (days is every or days.text == "*" or in_month in days.numbers)
            )

        return Expression(
            " ".join(texts), " ".join(closed), on, hours.numbers, minutes.numbers, seconds.numbers
        )  # fmt: skip

    def cron(self) -> Expression:
        """Five or six fields, with what cronsim has beside crontab(5): L, LW, n# and nL."""
        minutes, hours = self.field(0, 59, "-"), self.field(0, 23, "-")
        days, months = self.field(1, 31, "-", star=0.5), self.field(1, 12, "-", star=0.6)
        weekdays = self.field(0, 7, "-", star=0.5)
        fields = [minutes.text, hours.text, days.text, months.text, weekdays.text]
        seconds = Field("0", frozenset([0]), "0")
        if self.chance.random() < 0.3:
            seconds = self.field(0, 59, "-")
            fields.insert(0, seconds.text)
        if self.chance.random() < 0.2:
            fields[-3] = self.chance.choice(["*/2", "*/10", "L", "LW"])
        if self.chance.random() < 0.2:
            fields[-1] = self.chance.choice(["*/2", "mon", "Fri", "SUN,2-4", "1#1", "0#5", "7L", "3L"])

        def on(day: date) -> bool:
            both = fields[-3].startswith("*") or fields[-1].startswith("*")
            in_month, in_week = _day_of_month(day, fields[-3], days), _day_of_week(day, fields[-1], weekdays)
            return day.month in months.numbers and (in_month and in_week if both else in_month or in_week)

        return Expression(
            " ".join(fields), " ".join(fields), on, hours.numbers, minutes.numbers, seconds.numbers
        )  # fmt: skip


def _day_of_month(day: date, text: str, field: Field) -> bool:
    last = monthrange(day.year, day.month)[1]
    if text == "LW":
        return day.weekday() < 5 and all((day + n * DAY).weekday() > 4 for n in range(1, last - day.day + 1))
    special = {"*/2": set(range(1, 32, 2)), "*/10": {1, 11, 21, 31}, "L": {last}}
    return day.day in special.get(text, field.numbers)


def _day_of_week(day: date, text: str, field: Field) -> bool:
    week = (day.day - 1) // 7 + 1
    in_last = (day + WEEK).month != day.month
    number = day.isoweekday() % 7
    if text in {"1#1", "0#5"}:
        return f"{number}#{week}" == text
    if text in {"7L", "3L"}:
        return in_last and number == int(text[0]) % 7
    special = {"*/2": {0, 2, 4, 6}, "mon": {1}, "Fri": {5}, "SUN,2-4": {0, 2, 3, 4}}
    return number in special.get(text, {number % 7 for number in field.numbers})


# ---- when the zones change their offset


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
    early = datetime(first, 1, 1, tzinfo=UTC)
    before = early.astimezone(tz).utcoffset()
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


def wrong_at(change: Change) -> tuple[list[str], int]:
    """The expressions about a change that do not mean what the clock shows, and of how many."""
    tz = ZoneInfo(change.zone)
    start, end = change.at - timedelta(hours=3), change.at + timedelta(hours=4)
    minutes = by_the_clock(change.zone, start, end)
    wrong, asked = [], 0
    for *both, means in across(change):
        expected = [instant for instant, times in minutes if any(map(means, times))]
        for expression in both:
            asked += 1
            instants = map(moment, occurrences(expression, tz, micros(start)))
            if list(takewhile(lambda instant: instant <= end, instants)) != expected:
                wrong.append(f"{expression} in {change.zone} at {change.at}")
            # Wherever it begins, in a doubled hour too
            for begin in (start + (MINUTE + SECOND) * n for n in range(0, 400, 19)):
                following = next((instant for instant in expected if instant > begin), None)
                found = moment(next(occurrences(expression, tz, micros(begin))))
                if following and found != following:
                    wrong.append(f"{expression} in {change.zone} after {begin}: {found}")
    return wrong, asked


# ---- what systemd takes them for

# In a zone that is always at UTC there is one line for each, with that zone's name; else there is a second one.
_STAMP = re.compile(r"(?:elapse|#[0-9]+): [A-Z][a-z]{2} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
_STAMP_IN_UTC = re.compile(r"\(in UTC\): [A-Z][a-z]{2} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC")
_TROUBLE = re.compile(r"^Failed to (parse|determine) .*? '(.*)': ", re.MULTILINE)

# Runs a command in an environment with these variables.
Run = Callable[[list[str], dict[str, str]], "subprocess.CompletedProcess[str]"]


def here(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it on this machine."""
    return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | variables)


def by_systemd(run: Run, texts: list[str], zone: str, after: datetime, n: int) -> dict[str, list[datetime] | str]:
    """The next n instants of each expression, "parse" if it is refused, "determine" if systemd loses itself."""
    command = [
        *("systemd-analyze", "calendar", f"--base-time={after:%F %T} UTC", f"--iterations={n}", "--"),
        *texts,
    ]
    said = run(command, {"TZ": zone, "LC_ALL": "C"})
    blocks = re.split(r"^ *Normalized form: ", said.stdout, flags=re.MULTILINE)[1:]
    troubles = _TROUBLE.findall(said.stderr)
    meant: dict[str, list[datetime] | str] = {}
    for text in texts:
        if troubles and troubles[0][1] == text:
            meant[text] = troubles.pop(0)[0]
        else:
            block = blocks.pop(0)
            stamp = _STAMP_IN_UTC if "(in UTC)" in block else _STAMP
            meant[text] = [datetime.fromisoformat(at).replace(tzinfo=UTC) for at in stamp.findall(block)]
    assert not troubles
    assert not blocks
    return meant


def _broken(maker: Maker, text: str) -> str:
    """The same with a character more, or another one, or one less."""
    place = maker.chance.randrange(len(text) + 1)
    return text[:place] + maker.chance.choice([*"*,./-~: 0a9", ""]) + text[place + maker.chance.randint(0, 1) :]


def _is_after_gap(at: datetime, tz: ZoneInfo) -> bool:
    return at.astimezone(tz).utcoffset() > (at - SECOND).astimezone(tz).utcoffset()


def _other_of_two(at: datetime, tz: ZoneInfo) -> datetime:
    """The other instant with the same wall-clock time; the same one where there is none."""
    wall = at.astimezone(tz)
    other = wall.replace(fold=1 - wall.fold).astimezone(UTC)
    return other if other.astimezone(tz).replace(tzinfo=None) == wall.replace(tzinfo=None) else at


def _follows_ragged_gap(at: datetime, tz: ZoneInfo) -> bool:
    """Whether it lies between a gap that began within an hour of the clock and the next full hour."""
    full = at - timedelta(minutes=at.astimezone(tz).minute, seconds=at.second)
    return any(_is_after_gap(full + minute * MINUTE, tz) for minute in range(1, 60))


def _explanation(at: datetime, tz: ZoneInfo, *, only_here: bool) -> str | None:
    if only_here and _is_after_gap(at, tz):
        return "moved to the change"
    if only_here and _follows_ragged_gap(at, tz):
        return "left out by systemd after a change within an hour"
    if only_here != bool(at.astimezone(tz).fold) and _other_of_two(at, tz) != at:
        return "taken by systemd for the second time"
    return None


def _explain(
    theirs: list[datetime] | str, ours: list[datetime], n: int, tz: ZoneInfo, after: datetime, since: datetime
) -> tuple[Counter[str], list[str]]:
    """What explains the differences, and those that nothing explains, as far as both were asked for."""
    if isinstance(theirs, str):
        return Counter(), [theirs]
    end = min((found[-1] for found in (theirs, ours) if len(found) == n), default=datetime.max.replace(tzinfo=UTC))
    explained: Counter[str] = Counter()
    unexplained = []
    for at in sorted(set(theirs) ^ set(ours)):
        only_here = at not in theirs
        why = _explanation(at, tz, only_here=only_here)
        if why == "taken by systemd for the second time":
            other = _other_of_two(at, tz)
            why = why if other in (theirs if only_here else ours) or not after < other <= end else None
        if why:
            explained[why] += 1
        elif since < at <= end:
            unexplained.append(f"{at} {'only here' if only_here else 'only there'}")
    return explained, unexplained


def _refusal(text: str, *, here: bool) -> str | None:
    """Why only one of them refuses an expression."""
    if here:
        return "no decimals here" if re.search(r"[0-9:]\.[0-9]", text) else None
    if re.search(r"~[^ ]*,", text):
        # calendarspec.c takes 3 from the last that it allows for each entry of the list anew.
        return "in a list of days from the month's end systemd allows less and less"
    if re.search(r":[^: ]*:[^ ]*\b0*([0-9]+)\.\.0*\1\b(?!/)", text):
        return "systemd refuses a range of one second"
    return None


def _by_this(text: str, tz: ZoneInfo, after: datetime, n: int) -> tuple[list[datetime] | None, datetime]:
    """The next n instants, None if it is refused; and since when that is said: what never fires does so from now on."""
    try:
        expression, _ = read_repeat(text)
    except InvalidInput as error:
        return (None if error.kind == "invalid" else []), max(after, moment(clock.now()))
    return [moment(at) for at in islice(occurrences(expression, tz, micros(after)), n)], after


def compare(run: Run, seed: int, zone: str, many: int = 30) -> tuple[Counter[str], list[str]]:
    """Make so many expressions and ask both: what was seen how often, and the differences that nothing explains.

    Explained, each by itself, beside what the functions above say: a step without an end, as 1/7 for days. Where it
    leads beyond the end of a month or a year, systemd leaves out the first time of the next one, or loses itself. Asked
    for the same with an end, 1..29/7, it does not. After a change within an hour it may lose itself all the same, and
    says so: an infinite loop.
    """
    maker = Maker(seed)
    tz = ZoneInfo(zone)
    n = maker.chance.choice([3, 20, 100, 300])
    after = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=maker.chance.randrange(20 * 365 * 86_400))
    closed = {one.text: one.closed for one in (maker.on_calendar() for _ in range(many))}
    # What is broken may be an expression all the same: with years of two digits, another range, another list.
    broken = [text for text in (_broken(maker, text).strip() for text in list(closed)[::3]) if text]
    meant = by_systemd(run, list(dict.fromkeys([*closed, *broken])), zone, after, n)
    seen: Counter[str] = Counter()
    unexplained = []
    again = {}
    for text, theirs in meant.items():
        ours, since = _by_this(text, tz, after, n)
        if (ours is None) != (theirs == "parse"):
            why = _refusal(text, here=ours is None)
            seen[why or "one refuses"] += 1
            unexplained += [] if why else [f"{text!r} is refused {'here' if ours is None else 'there'} alone"]
        elif ours is None:
            seen["both refuse"] += 1
        elif text in closed or not re.search(r"(?<![0-9.])[0-9]+/", text):
            seen["expressions"] += 1
            seen["instants"] += len(ours)
            explained, bad = _explain(theirs, ours, n, tz, after, since)
            if bad:
                again[text] = ours, since
            else:
                seen += explained
    if again:
        ended = by_systemd(run, list(dict.fromkeys(closed.get(text, text) for text in again)), zone, after, n)
        for text, (ours, since) in again.items():
            ended_text = closed.get(text, text)
            explained, bad = _explain(ended[ended_text], ours, n, tz, after, since)
            if bad == ["determine"] or (bad == ["parse"] and _refusal(ended_text, here=False)):
                seen["no answer by systemd"] += 1
                continue
            seen += explained
            seen["left out by systemd, or lost, after a step without an end"] += 1
            unexplained += [f"{text!r} in {zone} after {after}: {bad[:3]}"] if bad else []
    return seen, unexplained
