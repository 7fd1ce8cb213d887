"""What attempts print and say, made so that it can be kept."""

from __future__ import annotations


class Output:
    """The first and the last half of what an attempt prints."""

    def __init__(self, size: int) -> None:
        """`size`: bytes that are kept."""
        self._head_size = (size + 1) // 2
        self._tail_size = size // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """What has been printed next."""
        room = self._head_size - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        surplus = len(self._tail) - self._tail_size
        if surplus > 0:
            del self._tail[:surplus]
            self._left_out += surplus

    def take(self) -> str | None:
        """All that was kept, as text; the next attempt begins with nothing."""
        if not self._head:
            return None
        gap = f"\n[{self._left_out} bytes left out]\n".encode() if self._left_out else b""
        text = clean(bytes(self._head + gap + self._tail).decode("utf-8", "replace"))
        self._head, self._tail, self._left_out = bytearray(), bytearray(), 0
        return text


def clean(text: str) -> str:
    """A text that every store and every client can take: no lone surrogates, no NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
