"""Reading a JSON object that is larger than memory: its arrays come element by element."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from linegroup.errors import UserError

CHUNK = 1 << 20
"""Bytes that are read at a time, at least."""

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[^\s,\]}]*")
_MARK = re.compile(r'"(?:[^"\\]|\\.)*+("?)|[\[\]{}]', re.DOTALL)
_LONGEST_LITERAL = len("-Infinity")
_LONGEST_CUT = len("e+")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a top-level array, or the whole of another top-level value.

    Attributes:
        key: The top-level key.
        index: Place in the array, from 0; None for a value that is no array.
        value: What the element says; NaN and ±Infinity are let through, for the caller to refuse.
        text: The same as it stands in the file, without line breaks: a copy costs no encoding.
        problem: Why the element is well-formed but cannot be held (`value` is None then), or "".
    """

    key: str
    index: int | None
    value: Any
    text: str
    problem: str = ""


class JsonObject:
    """A file with one JSON object, read from start to end with memory for its largest element only.

    Attributes:
        path: The file; UTF-8, with or without byte order mark.
        digest: SHA-256 of the file as hexadecimal, known when `elements` has come to the end; else "".
        keys: Top-level keys met so far; also those of empty arrays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = ""
        self.keys: list[str] = []

    def elements(self) -> Iterator[Element]:
        """Every element of every top-level array and every other top-level value, in the file's order.

        Raises:
            UserError: the file cannot be read, is no UTF-8, no JSON (with the position), no object, or has
                a key twice.
        """
        try:
            with self.path.open("rb") as stream:
                yield from self._elements(_Text(self.path, stream))
        except OSError as error:
            raise UserError(f"Cannot read {self.path}: {error.strerror or error}.") from None

    def _elements(self, text: _Text) -> Iterator[Element]:
        self.keys = []
        if text.peek() != "{":
            raise text.error("the file must hold one JSON object {…}")
        text.pos += 1
        while text.comma_or_end("}", first=not self.keys):
            self.keys.append(self._key(text))
            yield from _values(text, self.keys[-1])
        if text.peek():
            raise text.error("something follows the end of the object")
        self.digest = text.digest()

    def _key(self, text: _Text) -> str:
        if text.peek() != '"':
            raise text.error("expected a key in double quotes")
        key = str(text.value()[0])
        if key in self.keys:
            raise text.error(f"the key {key[:80]!r} stands there twice")
        if text.peek() != ":":
            raise text.error("expected ':' after a key")
        text.pos += 1
        return key


def _values(text: _Text, key: str) -> Iterator[Element]:
    if text.peek() != "[":
        yield Element(key, None, *text.value())
        return
    text.pos += 1
    index = 0
    while text.comma_or_end("]", first=index == 0):
        text.peek()
        yield Element(key, index, *text.value())
        index += 1


class _Text:
    """A window of decoded text that moves over the file."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.pos = 0
        self._path, self._stream = path, stream
        self._hash = hashlib.sha256()
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer, self._ended = "", False
        self._bytes = self._gone = self._lines = 0

    def digest(self) -> str:
        return self._hash.hexdigest()

    def peek(self) -> str:
        """The next character that is no space, "" at the end of the file; `pos` moves to it."""
        while True:
            self.pos = _SPACE.match(self._buffer, self.pos).end()  # type: ignore[union-attr]
            if self.pos < len(self._buffer):
                return self._buffer[self.pos]
            if self._ended:
                return ""
            self._fill()

    def comma_or_end(self, end: str, first: bool) -> bool:
        """Step over what separates two members; False when `end` was there instead."""
        found = self.peek()
        if found == end:
            self.pos += 1
            return False
        if first:
            return True
        if found != ",":
            raise self.error(f"expected ',' or '{end}'" + ("" if found else ", but the file ends here"))
        self.pos += 1
        return True

    def value(self) -> tuple[Any, str, str]:
        """Step over the value at `pos`: the value, its text, and why it could not be held, or ""."""
        while True:
            value, problem = None, ""
            try:
                value, end = _DECODER.raw_decode(self._buffer, self.pos)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_be_cut(error):
                    raise self.error(error.msg, error.pos) from None
                end = len(self._buffer)
            except RecursionError:
                end, problem = self._skip(), "it is nested too deeply"
            except ValueError as error:
                # Python refuses to convert numbers of thousands of digits.
                end, problem = self._skip(), f"it holds a value that cannot be read: {error}"
            # What reads as a number may go on behind the window's end: 1 as 12, 1.5 or 1e+5.
            if end + _LONGEST_CUT < len(self._buffer) or self._ended:
                start, self.pos = self.pos, end
                text = self._buffer[start:end].replace("\n", " ").replace("\r", " ")
                return value, text, problem
            self._fill()

    def error(self, what: str, pos: int | None = None) -> UserError:
        at = self.pos if pos is None else pos
        line = self._lines + self._buffer.count("\n", 0, at) + 1
        if at >= len(self._buffer) and self._ended and "file ends" not in what:
            what += ", but the file ends here"
        return UserError(
            f"{self._path} is no valid JSON at character {self._gone + at + 1:,} (line {line:,}): {what}."
            " Write the file again."
        )

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        near_end = error.pos >= len(self._buffer) - _LONGEST_LITERAL
        return near_end or error.msg.startswith("Unterminated string")

    def _skip(self) -> int:
        """Where the value at `pos` ends, by its brackets alone; the window's end when it goes on behind it."""
        if self._buffer[self.pos] not in '[{"':
            return _SCALAR.match(self._buffer, self.pos).end()  # type: ignore[union-attr]
        depth = 0
        for mark in _MARK.finditer(self._buffer, self.pos):
            if mark[0] in "[{":
                depth += 1
            elif mark[0] in "]}":
                depth -= 1
            elif not mark[1]:
                break
            if depth == 0:
                return mark.end()
        if self._ended:
            raise self.error("unclosed brackets", len(self._buffer))
        return len(self._buffer)

    def _fill(self) -> None:
        """Drop what is behind `pos` and read as much again as is left, so that long elements cost linear time."""
        self._lines += self._buffer.count("\n", 0, self.pos)
        self._gone += self.pos
        self._buffer, self.pos = self._buffer[self.pos :], 0
        content = self._stream.read(max(CHUNK, len(self._buffer)))
        self._hash.update(content)
        self._ended = not content
        try:
            self._buffer += self._decoder.decode(content, final=self._ended)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self._path} is not UTF-8 text near byte {self._bytes + error.start:,}: save it as UTF-8."
            ) from None
        self._bytes += len(content)
