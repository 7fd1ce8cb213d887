"""The table, as text or as Markdown."""

from tests.bench.figures import spread

HEAD = ("", "tifftockd", "beside it", "ratio", "to reach", "")


def lines(question, found):
    """The cells of a question's rows, of which something was measured."""
    cells = [_cells(row, found) for row in question.rows]
    return [line for line in cells if line is not None]


def _cells(row, found):
    ours = spread(found.get(row.of, ()), row.figure)
    if ours is None:
        return None
    theirs = spread(found.get(row.beside, ()), row.beside_figure or row.figure) if row.beside else None
    beside = "" if row.beside is None else f"{row.beside}: {'not measured' if theirs is None else _figures(theirs)}"
    reach = verdict = ""
    if row.reach is not None:
        reach = row.reach.text
        if row.beside is None or theirs is not None:
            verdict = "yes" if row.reach.holds(ours.median, theirs and theirs.median) else "no"
    label = f"{row.label}, {row.unit}" if row.unit else row.label
    return label, _figures(ours), beside, _ratio(ours, theirs), reach, verdict


def as_text(sections):
    """`sections`: titles of questions with their lines."""
    every = [HEAD, *(line for _, found in sections for line in found)]
    widths = [max(len(line[column]) for line in every) for column in range(len(HEAD))]
    shown = [_line(HEAD, widths), _line(["-" * width for width in widths], widths)]
    for title, found in sections:
        shown += [title, *(_line(line, widths) for line in found)]
    return "\n".join(shown)


def _line(cells, widths):
    aligned = [
        cell.rjust(width) if number in (1, 3) else cell.ljust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return ("  " + "  ".join(aligned)).rstrip()


def as_markdown(sections):
    """The same for a page."""
    shown = []
    for title, found in sections:
        shown += [f"**{title}**", "", _row(HEAD), "|---|--:|---|--:|---|---|", *map(_row, found), ""]
    return "\n".join(shown)


def _row(cells):
    return f"| {' | '.join(cells)} |"


def _figures(spread):
    """The median, and the range where the runs differ."""
    median = figure(spread.median)
    least, most = figure(spread.least), figure(spread.most)
    return median if least == most else f"{median} ({least} to {most})"


def figure(value):
    """Three digits that count, and thousands set apart."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.{1 if abs(value) >= 10 else 2}f}"


def _ratio(ours, theirs):
    return figure(ours.median / theirs.median) if theirs is not None and theirs.median else ""
