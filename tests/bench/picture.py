"""The picture: what part of all took at most how long. An SVG by hand, for light and dark pages.

To the right each step leaves ten times fewer: half, a tenth, a hundredth are later than that. Upwards each step is ten
times longer.
"""

import math
from html import escape

from tests.bench.figures import percentile

WIDTH, HEIGHT = 460, 300
LEFT, TOP, BOTTOM, GAP = 56, 48, 92, 30
# Of the whole: which percentiles are drawn, and where there are marks
MARKS = (0, 50, 90, 99, 99.9)
LAST = 99.9
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600 } .small { font-size: 10.5px }
  .page { fill: #fff }
  .grid { stroke: #d0d7de; stroke-width: 1 } .line { fill: none; stroke-width: 2 }
  .c0 { stroke: #0550ae } .c1 { stroke: #b35900 } .c2 { stroke: #57606a } .c3 { stroke: #8250df }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .page { fill: #0d1117 } .grid { stroke: #3d444d }
    .c0 { stroke: #6cb6ff } .c1 { stroke: #f0a35e } .c2 { stroke: #9da7b3 } .c3 { stroke: #c297ff }
  }
"""


def draw(curves, caption):
    """`curves`: pairs of a question's Curves and what was found. All runs are taken together."""
    panels = []
    for number, (one, found) in enumerate(curves):
        times = {who: [value for run in found[who] for value in run[one.times]] for who in one.of if found.get(who)}
        panels.append(f'<g transform="translate({number * (WIDTH + GAP)} 0)">{_panel(one.title, times)}</g>')
    under = caption.split("; ")
    width, height = len(curves) * (WIDTH + GAP), TOP + HEIGHT + BOTTOM + 16 * len(under)
    small = [
        f'<text class="small" x="{LEFT}" y="{height - 16 * (len(under) - number) + 6}">{escape(line)}</text>'
        for number, line in enumerate(under)
    ]
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    title = escape("; ".join(one.title for one, _ in curves))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{title}</title>\n<style>{STYLE}</style>'
    return "\n".join([head, '<rect class="page" width="100%" height="100%"/>', *panels, *small, "</svg>\n"])


def _panel(title, times):
    # Below a hundredth of a millisecond nothing is worth telling apart.
    points = {who: [(x, max(0.01, y)) for x, y in _points(values)] for who, values in times.items()}
    values = [y for line in points.values() for _, y in line] or [1]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def place(x, y):
        across = LEFT + (WIDTH - LEFT) * _nines(x) / _nines(LAST)
        up = TOP + HEIGHT * (1 - (math.log10(y) - low) / (high - low))
        return f"{across:.1f},{up:.1f}"

    shown = [
        f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>',
        f'<text text-anchor="end" x="{LEFT - 6}" y="{TOP - 12}">ms</text>',
    ]
    for power in range(low, high + 1):
        _, y = place(0, 10**power).split(",")
        shown.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}"/>')
        shown.append(f'<text text-anchor="end" x="{LEFT - 6}" y="{float(y) + 4:.1f}">{10**power:g}</text>')
    for mark in MARKS:
        x, _ = place(mark, 10**low).split(",")
        shown.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{TOP + HEIGHT}"/>')
        name = f"p{mark:g}" if mark else "least"
        shown.append(f'<text text-anchor="middle" x="{x}" y="{TOP + HEIGHT + 16}">{name}</text>')
    for number, (who, line) in enumerate(points.items()):
        path = " ".join(place(x, y) for x, y in line)
        shown.append(f'<polyline class="line c{number}" points="{path}"/>')
        across, down = LEFT + number % 2 * (WIDTH - LEFT) // 2, TOP + HEIGHT + 42 + number // 2 * 20
        shown.append(f'<line class="line c{number}" x1="{across}" x2="{across + 22}" y1="{down - 4}" y2="{down - 4}"/>')
        shown.append(f'<text x="{across + 28}" y="{down}">{escape(who)}</text>')
    return "\n".join(shown)


def _nines(percent):
    """0 for the least, 1 for p90, 2 for p99."""
    return -math.log10(1 - percent / 100)


def _points(values):
    """As far to the right as there are values to tell: of a hundred no p99.9."""
    last = min(_nines(LAST), math.log10(len(values)))
    steps = 60
    percents = [100 * (1 - 10 ** (-last * step / steps)) for step in range(steps + 1)]
    return [(percent, percentile(values, percent)) for percent in percents]
