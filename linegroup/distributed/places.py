"""Files by path or URI: local ones, and whatever pyarrow or fsspec reaches (`s3://`, `gs://`, `https://`, …)."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import fsspec.core
import pyarrow as pa
from pyarrow import fs

from linegroup.errors import UserError

_WILD = re.compile(r"[*?\[]")
_WEB = ("http", "https")


class File(NamedTuple):
    """A file below a folder.

    Attributes:
        name: Relative to the folder, with `/`.
        stamp: Size and time of the last change: another stamp is another content.
    """

    name: str
    stamp: str


def is_uri(place: str) -> bool:
    """Whether it names a file system, too."""
    return "://" in place


def absolute(place: str) -> str:
    """The same for a process that works in another folder."""
    return place if is_uri(place) else str(Path(place).absolute())


def join(folder: str, name: str) -> str:
    """`name` below `folder`, unless it stands for itself: a URI, or an absolute path."""
    if is_uri(name) or name.startswith("/"):
        return name
    if not is_uri(folder):
        return f"{folder.rstrip('/')}/{name}"
    scheme, rest, options = _split(folder)
    return f"{scheme}://{rest.rstrip('/')}/{name}{options}"


def shown(place: str) -> str:
    """The same without what is secret: name, password and options of a URI."""
    if not is_uri(place):
        return place
    scheme, rest, _ = _split(place)
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def parent(place: str) -> str:
    """The folder of a file."""
    if not is_uri(place):
        return place.rpartition("/")[0] or "/"
    scheme, rest, options = _split(place)
    return f"{scheme}://{rest.rpartition('/')[0]}{options}"


def is_folder(place: str) -> bool:
    """Whether there is a folder.

    Raises:
        OSError: the storage does not answer.
        UserError: an unknown file system.
    """
    if not is_uri(place):
        return Path(place).is_dir()
    files, path = _opened(place)
    return bool(files.get_file_info(path).type == fs.FileType.Directory)


def read(place: str) -> bytes:
    """The whole content of a file.

    Raises:
        OSError: missing, or the storage does not answer.
        UserError: an unknown file system.
    """
    if not is_uri(place):
        return Path(place).read_bytes()
    files, path = _opened(place)
    with files.open_input_stream(path) as stream:
        content: bytes = stream.read()
        return content


def open_file(place: str) -> pa.NativeFile:
    """A file to be read at any position; errors as `read`."""
    files, path = _opened(place)
    return files.open_input_file(path)


def stamp(place: str) -> str:
    """Size and time of the last change of a file.

    Raises:
        OSError: missing, or the storage does not answer.
    """
    if not is_uri(place):
        status = Path(place).stat()
        return f"{status.st_size}:{status.st_mtime_ns}"
    files, path = _opened(place)
    info = files.get_file_info(path)
    if info.type != fs.FileType.File:
        raise FileNotFoundError(2, "No such file", place)
    return _stamp_of(info)


def walk(folder: str, below: bool) -> Iterator[File]:
    """The files of a folder in no order; with `below` those of the folders in it, too. Hidden folders are left out.

    Raises:
        OSError: the folder cannot be read.
        UserError: an unknown file system.
    """
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        for name, found in _listed(folder, inside):
            whole = f"{inside}{name}"
            if found is not None:
                yield File(whole, found)
            elif below and not name.startswith("."):
                waiting.append(f"{whole}/")


def split_pattern(place: str) -> tuple[str, re.Pattern[str] | None]:
    """A folder, and what names below it must match: `scans/**/a*.png` -> `scans`; None: no pattern in it."""
    scheme, rest, options = _split(place) if is_uri(place) else ("", place, "")
    parts = rest.split("/")
    first = next((number for number, part in enumerate(parts) if _WILD.search(part)), None)
    if first is None or scheme in _WEB:
        return place, None
    words = [r"(?:[^/]+/)*" if part == "**" else _component(part) + "/" for part in parts[first:]]
    folder = "/".join(parts[:first]) or ("/" if first else ".")
    return f"{scheme}://{folder}{options}" if scheme else folder, re.compile("".join(words).removesuffix("/"))


def _component(pattern: str) -> str:
    """One part of a path with `*`, `?` and `[…]` as a regular expression; wildcards stand for no hidden file."""
    words = re.split(r"(\*|\?|\[!?[^\]]+\])", pattern)
    meaning = {"*": "[^/]*", "?": "[^/]"}
    text = "".join(
        meaning.get(word) or (f"[{word[1:-1].replace('!', '^', 1)}]" if word.startswith("[") else re.escape(word))
        for word in words
        if word
    )
    return text if pattern.startswith(".") else rf"(?!\.){text}"


def _listed(folder: str, inside: str) -> Iterator[tuple[str, str | None]]:
    """Names right in a folder, each with its stamp; folders with None."""
    if not is_uri(folder):
        with os.scandir(Path(folder) / inside) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield entry.name, None
                elif entry.is_file():
                    status = entry.stat()
                    yield entry.name, f"{status.st_size}:{status.st_mtime_ns}"
        return
    files, path = _opened(folder)
    for info in files.get_file_info(fs.FileSelector(f"{path.rstrip('/')}/{inside}".rstrip("/"))):
        if info.type == fs.FileType.Directory:
            yield info.base_name, None
        elif info.type == fs.FileType.File:
            yield info.base_name, _stamp_of(info)


def _stamp_of(info: fs.FileInfo) -> str:
    return f"{info.size}:{info.mtime_ns}"


def _opened(place: str) -> tuple[fs.FileSystem, str]:
    if not is_uri(place):
        return fs.LocalFileSystem(), place
    scheme, rest, options = _split(place)
    host, _, path = rest.partition("/")
    files, before = _file_system(scheme, host, options)
    return files, before + (unquote(path) if scheme == "file" else path)


def _split(uri: str) -> tuple[str, str, str]:
    """Scheme, host with path, and options of the file system, which pyarrow takes as a query."""
    scheme, _, rest = uri.partition("://")
    if scheme in _WEB:
        return scheme, rest, ""
    rest, mark, options = rest.partition("?")
    return scheme, rest, mark + options


@functools.lru_cache(maxsize=64)
def _file_system(scheme: str, host: str, options: str) -> tuple[fs.FileSystem, str]:
    """The file system of URIs, and what stands before a URI's path in its paths."""
    probe = f"{scheme}://{host}/x{options}"
    try:
        files, path = fs.FileSystem.from_uri(probe)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        try:
            found, path = fsspec.core.url_to_fs(probe)
        except (ValueError, ImportError) as error:
            raise UserError(f"{scheme}://{host}/… cannot be reached: {error}.") from None
        files = fs.PyFileSystem(fs.FSSpecHandler(found))
    return files, str(path).removesuffix("x")
