"""What every export format is given and promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.masks import pixels_of
from linegroup.sources.coco_masks import runs_of
from linegroup.wire import LineRecord, LinesDocument


@dataclass(frozen=True, eq=False)
class Picture:
    """The lines of one picture, and the picture where it is at hand.

    Attributes:
        document: The lines.
        image: The encoded picture (PNG, JPEG, …), or None.
    """

    document: LinesDocument
    image: bytes | None = None


@dataclass(frozen=True)
class ExportOptions:
    """How files are made.

    Attributes:
        embed: Put the picture into formats that can hold it.
        world: The six numbers A, D, B, E, C, F of a world file: X = A·x + B·y + C, Y = D·x + E·y + F of pixel
            centres; None: pixels.
    """

    embed: bool = False
    world: tuple[float, float, float, float, float, float] | None = None


@dataclass(frozen=True)
class Exporter:
    """One format.

    Attributes:
        name: In the registry and on the command line.
        suffix: End of its files' names.
        about: One line of help.
        write: Contents of a file; several pictures only where `together`.
        together: Whether one file may hold several pictures.
    """

    name: str
    suffix: str
    about: str
    write: Callable[[list[Picture], ExportOptions], bytes]
    together: bool = False


def line_runs(line: LineRecord, size: tuple[int, int]) -> NDArray[np.int32] | None:
    """The runs of a line's mask in a picture of `size` (height, width); None without a mask.

    Raises:
        UserError: the mask is damaged.
    """
    if line.mask is None:
        return None
    try:
        return runs_of(line.mask.model_dump(mode="json"), size)
    except ValueError as error:
        raise UserError(f"The mask of line {line.id} cannot be read: {error}.") from None


def line_pixels_of(line: LineRecord, size: tuple[int, int]) -> NDArray[np.int64] | None:
    """Flat raster indices of a line's mask; None without a mask."""
    runs = line_runs(line, size)
    return None if runs is None else pixels_of(runs)


def size_of(document: LinesDocument) -> tuple[int, int]:
    """(height, width) of the picture."""
    return document.image.height, document.image.width
