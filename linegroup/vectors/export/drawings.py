"""Lines as drawings and as features on a map."""

from __future__ import annotations

import base64
import json
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from linegroup.images import decode, encode_png
from linegroup.vectors.export.base import ExportOptions, Picture
from linegroup.wire import LineRecord

SHOWN = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""Kinds of pictures that every viewer shows, by their first bytes."""


def svg(pictures: list[Picture], options: ExportOptions) -> bytes:
    """One path per line in its colour and width; with `options.embed` the picture below them.

    Pixel centres are half a unit in: the user space is that of pixel corners, as in all drawings.

    Raises:
        UserError: the picture is to be put in, and is not at hand.
    """
    picture = pictures[0]
    image = picture.document.image
    rows = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{image.width}" height="{image.height}"'
        f' viewBox="0 0 {image.width} {image.height}">',
        f"<title>{_escaped(image.name)}</title>",
    ]
    if options.embed:
        shown = picture.needed if kind_of(picture.needed) else as_png(picture.needed)
        link = quoteattr(f"data:image/{kind_of(shown)};base64,{base64.b64encode(shown).decode()}")
        rows.append(f'<image width="{image.width}" height="{image.height}" href={link}/>')
    rows.append('<g fill="none" stroke-linecap="round" stroke-linejoin="round">')
    rows += [_path(line) for line in picture.document.lines]
    return "\n".join([*rows, "</g>", "</svg>", ""]).encode()


def _path(line: LineRecord) -> str:
    steps = []
    for curve in line.curves:
        points = [f"{x + 0.5:.6g} {y + 0.5:.6g}" for x, y in curve]
        # A dot is a line of no length, which round caps make visible.
        points = points if len(points) > 1 else points * 2
        steps.append("M" + " L".join(points) + ("Z" if line.closed else ""))
    width = f"{line.thickness or 1:.6g}"
    end = f"><title>{_escaped(line.name)}</title></path>" if line.name else "/>"
    return f'<path id="line-{line.id}" stroke="{line.colour.hex}" stroke-width="{width}" d="{" ".join(steps)}"{end}'


def geojson(pictures: list[Picture], options: ExportOptions) -> bytes:
    """A FeatureCollection: LineString or MultiLineString per line, Polygon for a closed one, Point for a dot.

    With a world file coordinates are those of its map, whatever its reference system is (none is written);
    without one they are pixels with y turned upwards, so that the picture stands upright.
    """
    document = pictures[0].document
    features = []
    for line in document.lines:
        parts = [_placed(np.array(curve), document.image.height, options) for curve in line.curves]
        properties = {
            "image": document.image.name,
            "line": line.id,
            **({"name": line.name} if line.name else {}),
            "colour": line.colour.hex,
            "score": line.score,
            "thickness_pixels": line.thickness,
        }
        features.append({"type": "Feature", "properties": properties, "geometry": _geometry(parts, closed=line.closed)})
    tree = {"type": "FeatureCollection", "features": features}
    return (json.dumps(tree, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _placed(points: NDArray[np.float64], height: int, options: ExportOptions) -> list[list[float]]:
    if options.world is None:
        # A unit is a pixel, the origin the lower left corner of the picture.
        placed = np.stack([points[:, 0] + 0.5, height - 0.5 - points[:, 1]], axis=1)
    else:
        a, d, b, e, c, f = options.world
        x, y = points.T
        placed = np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)
    return [[float(x), float(y)] for x, y in placed]


def _geometry(parts: list[list[list[float]]], *, closed: bool) -> dict[str, Any]:
    if closed and len(parts[0]) > 2:
        ring = parts[0]
        area = sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(ring, [*ring[1:], ring[0]], strict=True))
        ring = ring if area > 0 else ring[::-1]  # counterclockwise, as RFC 7946 wants it
        return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    lines = [part for part in parts if len(part) > 1]
    if not lines:
        dots = [part[0] for part in parts]
        return (
            {"type": "Point", "coordinates": dots[0]} if len(dots) == 1 else {"type": "MultiPoint", "coordinates": dots}
        )
    if len(parts) == 1:
        return {"type": "LineString", "coordinates": lines[0]}
    whole = [part if len(part) > 1 else part * 2 for part in parts]
    return {"type": "MultiLineString", "coordinates": whole}


def kind_of(image: bytes) -> str:
    """What kind of `SHOWN` picture some bytes are; "" for others."""
    return next((kind for start, kind in SHOWN.items() if image.startswith(start)), "")


def as_png(image: bytes) -> bytes:
    """The picture as PNG.

    Raises:
        UserError: it cannot be decoded.
    """
    return image if kind_of(image) == "png" else encode_png(decode(image).pixels)


def _escaped(text: str) -> str:
    # XML has no place for control characters, however they are written.
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
