"""The table, and the figures in it."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line: a figure, or several of a kind (p50 and p99), of tifftockd and of what is measured beside it."""

    question: str
    ours: tuple[float, ...]
    bare: tuple[float, ...]
    beside: str  # what the bare figure is of


def percentile(values, percent):
    """The nearest rank: the least value that so many per cent of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def median(runs):
    """The median of each figure over several runs."""
    return tuple(statistics.median(figures) for figures in zip(*runs, strict=True))


def show(rows):
    """The table as text. What is the same as in the line above is left out."""
    lines = [("question", "tifftockd", "bare", "", "ratio")]
    before = None
    for row in rows:
        ratio = " / ".join(_ratio(ours, bare) for ours, bare in zip(row.ours, row.bare, strict=True))
        ours = (row.question, _figures(row.ours))
        lines.append((*(ours if ours != before else ("", "")), _figures(row.bare), row.beside, ratio))
        before = ours
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells, widths):
    question, ours, bare, beside, ratio = (
        cell.rjust(width) if number in (1, 2, 4) else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"{question}  {ours}  {bare} {beside}  {ratio}"


def _figures(values):
    return " / ".join(_figure(value) for value in values)


def _figure(value):
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _ratio(ours, bare):
    return f"{ours / bare:.2f}" if bare else "-"
