"""Pictures beside their truth, to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from truth import Drawing, Picture

TILE = (390, 270)  # Width and height of a picture on the sheet.
TITLE = 16
COLUMNS = 3
# BGR of the first line, the second, ...
COLORS = (
    *((0, 0, 255), (255, 120, 0), (0, 170, 0), (200, 0, 200)),
    *((0, 160, 255), (160, 160, 0), (80, 0, 120), (90, 90, 90)),
)


class ContactSheet:
    """Collects charts."""

    def __init__(self) -> None:
        self.tiles: list[Picture] = []

    def add(self, title: str, drawing: Drawing) -> None:
        """A chart: its picture, and beside it the mask of each line in a colour of its own."""
        truth = np.full_like(drawing.picture, 255)
        for number, mask in enumerate(drawing.masks()):
            truth[mask] = COLORS[number % len(COLORS)]
        pair = np.hstack([_fit(drawing.picture), _fit(truth)])
        tile = np.vstack([np.full((TITLE, pair.shape[1], 3), 200, np.uint8), pair])
        cv2.putText(tile, title, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
        self.tiles.append(tile)

    def write(self, path: Path) -> None:
        """As PNG, `COLUMNS` charts in a row."""
        blanks = [np.full_like(self.tiles[0], 200)] * (-len(self.tiles) % COLUMNS)
        tiles = [*self.tiles, *blanks]
        rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
        cv2.imwrite(str(path), np.vstack(rows))


def _fit(picture: Picture) -> Picture:
    """As large as a tile holds, on grey."""
    width, height = TILE
    factor = min(width / picture.shape[1], height / picture.shape[0])
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=way)[:height, :width]
    tile = np.full((height, width, 3), 200, np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    return tile
