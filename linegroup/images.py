"""Reading pictures that anybody may have made: one safe way in, one deterministic way out."""

from __future__ import annotations

import io
import itertools
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from linegroup.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The only formats that are tried: decoders of rare ones are where the holes are."""

MAX_PIXELS = 25_000_000
"""Default limit of height × width."""

MOST_FRAMES = 10_000
"""Frames of a TIFF beyond which they are not counted any further."""

MOST_SCANS = 100
"""Passes over its pixels that a JPEG may make; cameras and optimisers need a dozen."""

_MOST_PROFILES = 8
_ORIENTATION = 0x0112
_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
_TILE_SIZE = (0x0142, 0x0143)
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_FILTERS = threading.Lock()


class ImageError(UserError):
    """A picture that cannot be used: the message says why and what to do."""


class TooManyPixels(ImageError):
    """A picture, or a part that must be unpacked as a whole, is larger than is allowed."""


class UnknownFormat(ImageError):
    """No picture in one of the formats that are read."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture in memory.

    Attributes:
        pixels: `(h, w, 3) uint8` RGB, upright, over white where it was transparent.
        orientation: The EXIF orientation that was undone, 1..8; 1 = none.
        frames: Frames in the file (of a TIFF at most `MOST_FRAMES`); the first one is taken.
        format: One of `FORMATS`.
    """

    pixels: NDArray[np.uint8]
    orientation: int = 1
    frames: int = 1
    format: str = "PNG"


def decode(content: bytes, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode an encoded picture; its size is checked in the header before any pixel is unpacked.

    16-bit values are scaled to 8 bits, CMYK and palettes converted, transparency laid over white, the
    EXIF orientation undone.

    Raises:
        ImageError: no picture, an unknown format, damaged, or more than `max_pixels` pixels.
    """
    with _explained(max_pixels):
        image, orientation = _open(content, max_pixels)
        with image, _quiet() if image.format == "TIFF" else nullcontext():
            # A JPEG that carries further pictures calls itself MPO.
            name = (image.format or "").replace("MPO", "JPEG")
            frames = _tiff_frames(content) if name == "TIFF" else int(getattr(image, "n_frames", 1))
            image.load()
            return Decoded(_upright(_rgb(image), 1 if name == "TIFF" else orientation), orientation, frames, name)


def image_size(content: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """`(height, width)` as `decode` would return it, from the header alone.

    Raises:
        ImageError: as `decode`, as far as the header shows.
    """
    with _explained(max_pixels):
        image, orientation = _open(content, max_pixels)
        with image:
            width, height = image.size
            # Pillow says of TIFF alone the size that it has after turning.
            return (width, height) if orientation >= 5 and image.format != "TIFF" else (height, width)


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a picture file (see `decode`); errors name the file.

    Raises:
        ImageError: the file cannot be read, or as `decode`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"Cannot read {path}: {error.strerror or error}.") from None
    try:
        return decode(content, max_pixels=max_pixels)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def encode_png(array: NDArray[Any]) -> bytes:
    """PNG bytes of `(h, w)` uint8 or uint16, or `(h, w, 3)` uint8 RGB; equal arrays give equal bytes.

    Raises:
        UserError: another shape or type.
    """
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    if not (grey or (array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8)) or not array.size:
        raise UserError(
            f"A PNG is made of (h, w) uint8 or uint16, or (h, w, 3) uint8; got {array.shape} {array.dtype}."
        )
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


@contextmanager
def _explained(max_pixels: int) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise TooManyPixels(
            f"The picture has far more than the {max_pixels:,} pixels allowed; scale it down."
        ) from None
    except UnidentifiedImageError:
        raise UnknownFormat(f"This is no picture that can be read; use one of {', '.join(FORMATS)}.") from None
    # Decoders of damaged files raise whatever they stumble over: OSError, ValueError, SyntaxError, struct.error, …
    except Exception as error:
        # Only Pillow's own words are of the picture: "image file is truncated".
        said = f" ({error})" if isinstance(error, OSError) and error.errno is None else ""
        raise ImageError(f"The picture is damaged{said}; save it again and retry.") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings from Pillow: our own limits and errors say what matters.

    The filters belong to the whole process, so one thread at a time may change and restore them.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(content: bytes, max_pixels: int) -> tuple[Image.Image, int]:
    """The picture with its size checked and no pixel unpacked, and its EXIF orientation."""
    if not content:
        raise ImageError("The picture is empty (0 bytes).")
    # A PNG has one colour profile; each is unpacked on opening, and small files can hold thousands of large ones.
    if content.startswith(b"\x89PNG") and content.count(b"iCCP") > _MOST_PROFILES:
        raise ImageError("The picture is damaged (many colour profiles); save it again and retry.")
    with _quiet():
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        _check_size(image.size, max_pixels)
        _check_effort(image, content, max_pixels)
        # A PNG may hold EXIF behind its pixels, and Pillow unpacks all of them to look for it.
        if image.format == "PNG" and not any(mark in content for mark in _PNG_EXIF):
            return image, 1
        return image, _orientation(image)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"The picture is {width} × {height}: it has no pixels.")
    if width * height > max_pixels:
        raise TooManyPixels(
            f"The picture is {width} × {height} = {width * height:,} pixels; at most {max_pixels:,} are allowed. "
            "Scale it down or cut it up."
        )


def _check_effort(image: Image.Image, content: bytes, max_pixels: int) -> None:
    """Refuse files in which few bytes stand for much more work or memory than the picture's size."""
    # In a TIFF every tile is a JPEG of its own, and libtiff has a limit itself.
    if image.format in ("JPEG", "MPO"):
        scans = sum(1 for _ in _SCAN.finditer(content))
        if scans > MOST_SCANS:
            raise ImageError(
                f"The picture is drawn in {scans:,} scans of all its pixels; at most {MOST_SCANS} are allowed. "
                "Save it as a baseline JPEG."
            )
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiles(image, content, max_pixels)


def _check_tiles(image: TiffImagePlugin.TiffImageFile, content: bytes, max_pixels: int) -> None:
    """A whole tile is unpacked however small the picture is."""
    first = next(_directories(content), range(0))
    order: Literal["big", "little"] = "big" if content.startswith(b"MM") else "little"
    tags = [int.from_bytes(content[at : at + 2], order) for at in first]
    sides = [image.tag_v2.get(tag, 1) for tag in _TILE_SIZE]
    # Of a tag that stands there twice Pillow takes the last one, libtiff the first.
    if any(tags.count(tag) > 1 for tag in _TILE_SIZE) or not all(isinstance(side, int) for side in sides):
        raise ImageError("The picture is damaged (unclear size of its tiles); save it again and retry.")
    if sides[0] * sides[1] > max_pixels:
        raise TooManyPixels(
            f"The picture is stored in tiles of {sides[0]} × {sides[1]} pixels; at most {max_pixels:,} are allowed. "
            "Save it without tiles."
        )


def _tiff_frames(content: bytes) -> int:
    """Number of directories. Pillow parses each one to count them: 40 s for 10 MB of them."""
    return max(1, sum(1 for _ in itertools.islice(_directories(content), MOST_FRAMES)))


def _directories(content: bytes) -> Iterator[range]:
    """The places of the entries of each directory of a TIFF, until its chain ends, comes back or leads out."""
    order = ">" if content.startswith(b"MM") else "<"
    # Only little-endian BigTIFF: Pillow opens no other.
    start, count, entry, link = (8, "Q", 20, "Q") if content[2] == 43 else (4, "H", 12, "I")
    met: set[int] = set()
    try:
        (place,) = struct.unpack_from(order + link, content, start)
        while place and place not in met:
            met.add(place)
            (entries,) = struct.unpack_from(order + count, content, place)
            first = place + struct.calcsize(order + count)
            yield range(first, min(first + entry * entries, len(content)), entry)
            (place,) = struct.unpack_from(order + link, content, first + entry * entries)
    except (struct.error, OverflowError):
        return


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    # Broken EXIF raises like broken pixels do; the picture itself may be whole, and loading it will tell.
    except Exception:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """`(h, w, 3)` as EXIF wants it shown; contiguous and writable."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.array(pixels, order="C")


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_eight_bits(image)[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    return np.asarray(image.convert("RGB"))


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """16-bit and 32-bit grey to 8 bits; floats are taken for [0, 1] or [0, 255], whichever they fit."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
    largest = values.max(initial=0)
    whole = 65535.0 if image.mode.startswith("I") else (1.0 if largest <= 1 else 255.0)
    if image.mode == "I" and largest <= 255:
        whole = 255.0
    grey = np.asarray(np.clip(np.rint(values * (255 / whole)), 0, 255), dtype=np.uint8)
    see_through = image.info.get("transparency")
    if isinstance(see_through, int):
        grey[values == see_through] = 255
    return grey
