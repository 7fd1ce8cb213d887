"""What a pattern can say of times and spans, for programs that want to know before they ask.

All that these match is accepted on the day for which they are made. Of what people write more is accepted: spans with
more digits or parts, and in ISO 8601 what is left of today and tomorrow, as no pattern knows what time it is.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta

_CLOCK = "([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?"
_WEEKDAYS = "[Mm]on(day)?|[Tt]ue(sday)?|[Ww]ed(nesday)?|[Tt]hu(rsday)?|[Ff]ri(day)?|[Ss]at(urday)?|[Ss]un(day)?"
_OFFSET = "[Zz]|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?"
_AFTER_DATE = f"([Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{{1,6}})?)?({_OFFSET})?)?"
# Of each month the days that it has every year
_DAYS = "(0[1-9]|1[0-9]|2[0-8])"
_MONTH_AND_DAY = f"((0[1-9]|1[0-2])-{_DAYS}|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
# To 9998: the year 9999 is the horizon, and ends at different instants.
_LATE_YEARS = "[3-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8]"
_DECIMALS = r"(\.[0-9]{1,6})?"

# Local time is up to a day ahead of UTC or behind it.
_MARGIN = timedelta(days=2)

# The next of that day and time of day: in the future, whatever day it is
NEXT = f"^(({_WEEKDAYS}|[Tt]omorrow) )?{_CLOCK}$"
# Past or future
ANY = (
    f"^(({_WEEKDAYS}|[Tt]oday|[Tt]omorrow) )?{_CLOCK}$",
    f"^([12][0-9]{{3}}|{_LATE_YEARS})-{_MONTH_AND_DAY}{_AFTER_DATE}$",
    f"^@[0-9]{{1,11}}{_DECIMALS}$",
)


_DAY = "(Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
# What fires at least once a year, for ever
ONCALENDAR = (
    "^(minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly)$"
    rf"|^({_DAY}(,{_DAY}){{0,3}}|Mon\.\.Fri)( {_CLOCK})?$"
    rf"|^\*-(\*|0[1-9]|1[0-2])-{_DAYS} {_CLOCK}$"
)
CRON = (
    r"^([1-5]?[0-9]|\*|\*/([1-9]|[1-5][0-9])) (1?[0-9]|2[0-3]|\*) ([1-9]|1[0-9]|2[0-8]|\*) ([1-9]|1[0-2]|\*) "
    r"([0-7]|\*|1-5)$"
)


def iso_from(today: date, ahead: timedelta = _MARGIN) -> str:
    """ISO 8601 so far from this day, to the end of 9998."""
    first = today + ahead
    year, month, days = first.year, first.month, monthrange(first.year, first.month)[1]
    dates = [f"{first:%Y-%m}-({_numbers(first.day, days)})"]
    if month < 12:
        dates.append(f"{year}-({_numbers(month + 1, 12)})-{_DAYS}")
    # Up to here it is this millennium's business.
    years = "|".join([str(year + 1), *_larger(str(year + 1))[:-1], _LATE_YEARS])
    dates.append(f"({years})-{_MONTH_AND_DAY}")
    return f"^({'|'.join(dates)}){_AFTER_DATE}$"


def epoch_from(today: date) -> str:
    """Seconds since 1970 in the future on this day, to the year 5138."""
    # To the next 100,000, a day and a bit
    first = int(datetime.combine(today + _MARGIN, time(), UTC).timestamp()) // 100_000 + 1
    return f"^@(({'|'.join([str(first), *_larger(str(first))])})[0-9]{{5}}|[1-9][0-9]{{10}}){_DECIMALS}$"


def span(minutes: int, days: int) -> str:
    """A number of seconds, or up to three parts with units.

    So many digits a number of minutes or hours may have, and of days; weeks one less, smaller units two more each.
    """
    decimals = r"(\.[0-9]{1,3})?"
    part = "|".join(
        (
            f"[0-9]{{1,{minutes + 4}}} ?us(ec)?",
            f"[0-9]{{1,{minutes + 2}}}{decimals} ?(ms(ec)?|s(ec(onds?)?)?)",
            f"[0-9]{{1,{minutes}}}{decimals} ?(m(in(utes?)?)?|h(r|ours?)?)",
            f"[0-9]{{1,{days}}}{decimals} ?d(ays?)?",
            f"[0-9]{{1,{days - 1}}}{decimals} ?w(eeks?)?",
        )
    )
    return f"^([0-9]{{1,{minutes + 2}}}|(({part}) ?){{1,3}})$"


def _numbers(first: int, last: int) -> str:
    return "|".join(f"{number:02}" for number in range(first, last + 1))


def _larger(digits: str) -> list[str]:
    """The larger numbers of as many digits: by their last digit, by the last but one and any last one, and so on."""
    return [
        f"{digits[:place]}[{int(digits[place]) + 1}-9]" + "[0-9]" * (len(digits) - place - 1)
        for place in reversed(range(len(digits)))
        if digits[place] < "9"
    ]
