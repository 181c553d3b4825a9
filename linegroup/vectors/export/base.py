"""What every export format is given and promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError
from linegroup.sources.coco_masks import runs_of
from linegroup.wire import LineRecord, LinesDocument

MOST_PIXELS = 1 << 28
"""Height × width beyond which nothing is drawn."""


@dataclass(frozen=True, eq=False)
class Picture:
    """The lines of one picture, and the picture where it is at hand.

    Attributes:
        document: The lines.
        image: The encoded picture (PNG, JPEG, …), or None.
        place: Where the picture lies, seen from the folder of the files; "": under its name in that folder.
    """

    document: LinesDocument
    image: bytes | None = None
    place: str = ""

    @property
    def needed(self) -> bytes:
        """The encoded picture.

        Raises:
            UserError: it is not at hand.
        """
        if self.image is None:
            name = self.document.image.name or "The picture"
            words = "needed to be put into the file and was not found; say --images DIR where it is."
            raise UserError(f"{name} is {words}", cause=f"the picture is {words}")
        return self.image


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
        UserError: the mask is damaged, or the picture has more than `MOST_PIXELS`.
    """
    if line.mask is None:
        return None
    check_size(size)
    try:
        return runs_of(line.mask.model_dump(mode="json"), size)
    except ValueError as error:
        raise UserError(f"The mask of line {line.id} cannot be read: {error}.") from None


def size_of(document: LinesDocument) -> tuple[int, int]:
    """(height, width) of the picture."""
    return document.image.height, document.image.width


def check_size(size: tuple[int, int]) -> None:
    """Whether a picture of (height, width) can be drawn.

    Raises:
        UserError: it has more than `MOST_PIXELS`.
    """
    height, width = size
    if height * width > MOST_PIXELS:
        raise UserError(
            f"The document says that its picture has {width} × {height} pixels; at most {MOST_PIXELS:,} are drawn:"
            " choose a format without pixels."
        )
