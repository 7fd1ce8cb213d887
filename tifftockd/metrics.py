"""What is measured since the start, and Prometheus' text format for it.

https://prometheus.io/docs/instrumenting/exposition_formats/ has the format. A histogram has no lock: one thread
observes and reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# In a label's value: the backslash first, or the others' would be doubled.
_ESCAPES = (("\\", r"\\"), ("\n", r"\n"), ('"', r"\""))


class Histogram:
    """How often a value was not above each of some bounds, and the sum of all."""

    def __init__(self, bounds: Iterable[float]) -> None:
        """`bounds` rise; what is above the last counts too."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self) -> list[Sample]:
        """As they are now: `le` is the bound up to which `_bucket` counts."""
        samples, total = [], 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            samples.append(Sample(total, {"le": _number(bound)}, "_bucket"))
        return [*samples, Sample(self._sum, suffix="_sum"), Sample(total, suffix="_count")]


class Sample(NamedTuple):
    """One value of a family, told from the others by its labels."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


class Family(NamedTuple):
    """A metric: `kind` is counter, gauge or histogram; `told` is one line for people."""

    name: str
    kind: str
    told: str
    samples: Iterable[Sample]


def render(families: Iterable[Family]) -> bytes:
    """The text, as CONTENT_TYPE says."""
    return "".join(f"{line}\n" for family in families for line in _lines(family)).encode()


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.told}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
        yield f"{family.name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {_number(sample.value)}"


def _escaped(text: str) -> str:
    for mark, escape in _ESCAPES:
        text = text.replace(mark, escape)
    return text


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(value)
