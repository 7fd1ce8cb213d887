"""The only reader of the clocks, and an alarm on the wall clock that survives suspend and clock steps.

Instants are whole microseconds since 1970-01-01T00:00Z, spans whole microseconds: both `int`, as they are stored.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from datetime import UTC, datetime, timedelta

Micros = int
SECOND: Micros = 1_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A machine that shows a time before this release was made has a wrong clock: a board without a battery wakes in
# 1970, or in the year its systemd was built.
RELEASED: Micros = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp()) * SECOND

# timerfd_create(2) and timerfd_settime(2), from linux/timerfd.h and linux/time.h
_CLOCK_REALTIME = 0
_TFD_CLOEXEC = os.O_CLOEXEC
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2


def now() -> Micros:
    """The wall clock, in whole microseconds since the epoch."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds on a clock that never steps, for deadlines. It stands still while the machine is suspended."""
    return time.monotonic()


def is_wrong(instant: Micros) -> bool:
    """Whether a clock that shows `instant` is plainly wrong."""
    return instant < RELEASED


def micros(instant: datetime) -> Micros:
    """An aware datetime as microseconds since the epoch, exactly."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def moment(instant: Micros) -> datetime:
    """The inverse of `micros`, in UTC. OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=instant)


class _Timespec(ctypes.Structure):
    # time_t and long: 64 bits each on every 64-bit Linux, long-sized elsewhere
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("it_interval", _Timespec), ("it_value", _Timespec)]


_libc = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """A timerfd(2) on CLOCK_REALTIME: `fileno()` becomes readable at an instant, or when the clock is set.

    The kernel counts the time asleep and follows each step of the clock, which no timeout of poll(2) does.
    """

    def __init__(self) -> None:
        self._fd: int = _libc.timerfd_create(_CLOCK_REALTIME, _TFD_CLOEXEC | _TFD_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def fileno(self) -> int:
        """For poll(2)."""
        return self._fd

    def set(self, instant: Micros | None) -> bool:
        """Ring at `instant` (at once if that has passed), or with None only when the clock is set.

        True if the clock was set since the last call: what was decided by the old time is to be decided again.
        """
        # Zero would disarm the timer, and with it the notice of a set clock: ring in the far future instead.
        value = 2**33 * SECOND if instant is None else max(instant, 1)
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(value // SECOND, value % SECOND * 1000))
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        if _libc.timerfd_settime(self._fd, flags, ctypes.byref(spec), None) < 0:
            error = ctypes.get_errno()
            if error == errno.ECANCELED:  # the kernel has armed the timer all the same
                return True
            raise OSError(error, "timerfd_settime")
        return False

    def acknowledge(self) -> bool:
        """Take the notice off the descriptor; True if the clock was set (ECANCELED)."""
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.ECANCELED:
                return True
            raise
        return False

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
