"""Tables that fit their terminal: columns as wide as what is in them, and the widest cut where it is too narrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tifftockd.ctl.screen import Screen
from tifftockd.ctl.text import cut, harmless, pad, width

_GAP = "  "
# A column is not cut to less than this.
_LEAST = 8


class Column(NamedTuple):
    """`right`: its cells stand at the right. `flexible`: it may be cut."""

    title: str
    right: bool = False
    flexible: bool = False


class Cell(NamedTuple):
    """A text, as it came, and the name of its style."""

    text: str
    style: str = ""


def print_table(screen: Screen, columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]]) -> None:
    """Print a head and the rows; nothing without rows."""
    if not rows:
        return
    cells = [[_cell(cell) for cell in row] for row in rows]
    texts = [[column.title for column in columns], *([cell.text for cell in row] for row in cells)]
    widths = fit([max(map(width, column)) for column in zip(*texts, strict=True)], columns, screen.width)
    head = [Cell(column.title, "head") for column in columns]
    for row in (head, *cells):
        screen.line(_line(screen, columns, row, widths))


def fit(natural: Sequence[int], columns: Sequence[Column], room: int | None) -> list[int]:
    """How wide each column is to be in `room` cells (None: any), given what each would have.

    The widest flexible one gives way first, to the next widest, then both, and so on. Where that is not enough, the
    lines are longer than `room`.
    """
    widths = list(natural)
    if room is None:
        return widths
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - room
    while excess > 0:
        flexible = [place for place, column in enumerate(columns) if column.flexible and widths[place] > _LEAST]
        if not flexible:
            break
        widest = max(widths[place] for place in flexible)
        among = [place for place in flexible if widths[place] == widest]
        lower = [widths[place] for place in flexible if widths[place] < widest]
        step = min(widest - max([_LEAST, *lower]), max(1, excess // len(among)))
        for place in among:
            taken = min(step, excess)
            widths[place] -= taken
            excess -= taken
    return widths


def _cell(cell: Cell | str) -> Cell:
    made = Cell(cell) if isinstance(cell, str) else cell
    return Cell(harmless(made.text), made.style)


def _line(screen: Screen, columns: Sequence[Column], row: Sequence[Cell], widths: Sequence[int]) -> str:
    parts, left = [], screen.width
    for column, cell, room in zip(columns, row, widths, strict=True):
        # What does not fit at all ends where the terminal does.
        space = room if left is None else min(room, left)
        if space <= 0:
            break
        text = cut(cell.text, space, screen.mark)
        last = column is columns[-1] and not column.right
        padding = "" if last else " " * (space - width(text))
        painted = screen.paint(text, cell.style)
        parts.append(padding + painted if column.right else painted + padding)
        left = None if left is None else left - space - len(_GAP)
    return _GAP.join(parts).rstrip()


def print_pairs(screen: Screen, pairs: Sequence[tuple[str, str | Cell]]) -> None:
    """Print names with what each is, one below the other. A text of many lines goes on below its beginning."""
    room = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        cell = Cell(value) if isinstance(value, str) else value
        first, *rest = (harmless(line) for line in cell.text.rstrip("\n").split("\n"))
        screen.line(f"{screen.paint(pad(name, room), 'head')}{_GAP}{screen.paint(first, cell.style)}".rstrip())
        for line in rest:
            screen.line(f"{' ' * room}{_GAP}{line}".rstrip())
