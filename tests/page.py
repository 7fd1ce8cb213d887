"""docs/handlers.md as the tests read it: its sections, its tables, and its blocks from top to bottom."""

import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "docs/handlers.md"
TEXT = FILE.read_text()

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# "this is `lamp.py`:" before a block names the file that it is.
_NAMED = re.compile(r"`([^`\s]+)`:\n\n\Z")


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    kind: str
    text: str
    name: str | None  # of the file that it is

    @property
    def for_service(self):
        """Whether it needs the installed service: tests/system/test_handlers_page.py."""
        return self.text.startswith("[Service]\n") or "systemctl " in self.text


def _block(found):
    kind, text = found.groups()
    name = _NAMED.search(TEXT[: found.start()])
    return Block(kind, text, name and name[1])


BLOCKS = [_block(found) for found in _FENCED.finditer(TEXT)]
# What stands outside them.
PROSE = _FENCED.sub("", TEXT)


def section(title):
    """What stands between a heading and the next."""
    return PROSE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def tables(title):
    """The tables of a section: each a list of rows, each a list of cells, without the head."""
    found = re.findall(r"^\|.*?\n\|[-|]+\n((?:\|.*\n)+)", section(title), re.MULTILINE)
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()] for table in found]


def codes(text):
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)
