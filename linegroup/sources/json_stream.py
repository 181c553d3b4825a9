"""Reading large JSON files one array element at a time, with memory for the largest element only."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from linegroup.errors import UserError

CHUNK = 1 << 20
"""Characters read at a time."""

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_CERTAIN = 64
"""An error this many characters before the end of what was read is not for want of more text."""


class Member(NamedTuple):
    """A value of the top-level object, or one element of an array in it.

    Attributes:
        key: Name in the object.
        value: The decoded value; `NaN` and `Infinity` are read as Python writes them.
        text: Its JSON text, on one line.
    """

    key: str
    value: Any
    text: str


def stream_members(path: Path, arrays: Collection[str]) -> Iterator[Member]:
    """The members of a JSON file's top-level object, in order.

    Members named in `arrays` come element by element; the others whole, once. A byte order mark is
    skipped.

    Raises:
        UserError: the file cannot be read, is not UTF-8, not JSON, cut short, nested too deeply, no
            object, or one of `arrays` is no array. The message says where.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from _members(_Buffer(stream, path), arrays)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): {error.reason}.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None


def _members(buffer: _Buffer, arrays: Collection[str]) -> Iterator[Member]:
    if buffer.peek() != "{":
        raise buffer.error("a JSON object with images, annotations and categories was expected")
    buffer.skip()
    if buffer.peek() == "}":
        buffer.skip()
    else:
        more = True
        while more:
            key, _ = buffer.value()
            if not isinstance(key, str):
                raise buffer.error("a name in quotation marks was expected")
            buffer.expect(":")
            if key in arrays:
                if buffer.peek() != "[":
                    raise buffer.error(f"{key!r} must be an array")
                yield from _elements(buffer, key)
            else:
                yield Member(key, *buffer.value())
            more = buffer.expect(",}") == ","
    if buffer.peek():
        raise buffer.error("there is more after the end of the JSON object")


def _elements(buffer: _Buffer, key: str) -> Iterator[Member]:
    buffer.skip()
    if buffer.peek() == "]":
        buffer.skip()
        return
    more = True
    while more:
        yield Member(key, *buffer.value())
        more = buffer.expect(",]") == ","


class _Buffer:
    """A window of the text that grows as far as one value needs and forgets what was read."""

    def __init__(self, stream: IO[str], path: Path) -> None:
        self.stream, self.path = stream, path
        self.text, self.at, self.dropped, self.ended = "", 0, 0, False

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._grow():
                return ""

    def skip(self) -> None:
        """Pass the character that `peek` saw."""
        self.at += 1

    def expect(self, wanted: str) -> str:
        """Pass one of the wanted characters and return it."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.error(f"expected {' or '.join(map(repr, wanted))}")
        self.skip()
        return found

    def value(self) -> tuple[Any, str]:
        """The next value and its text."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                unfinished = error.pos > len(self.text) - _CERTAIN or error.msg.startswith("Unterminated string")
                if unfinished and self._grow():
                    continue
                raise self.error(error.msg, error.pos) from None
            except RecursionError:
                raise self.error("nested too deeply") from None
            except ValueError as error:  # a number of thousands of digits
                raise self.error(str(error)) from None
            # A number that ends with the text may go on behind it.
            if end == len(self.text) and self._grow():
                continue
            text = self.text[self.at : end].replace("\n", " ").replace("\r", " ")
            self.at = end
            return value, text

    def error(self, what: str, at: int | None = None) -> UserError:
        """An error at a place in the file."""
        place = self.dropped + (self.at if at is None else at)
        end = " (the file ends there: it is cut short)" if self.ended and place >= self.dropped + len(self.text) else ""
        return UserError(f"{self.path} is not usable JSON at character {place}: {what}{end}.")

    def _grow(self) -> bool:
        if self.ended:
            return False
        rest = self.text[self.at :]
        # At least doubling, so that a long value is not decoded anew too often.
        more = self.stream.read(max(CHUNK, len(rest)))
        self.dropped += self.at
        self.text, self.at, self.ended = rest + more, 0, not more
        return bool(more)
