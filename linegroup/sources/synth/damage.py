"""What the world does to a chart after it was drawn; the truth moves along.

A drawing goes through the steps of one profile (light use on the web, a screenshot, a scanner, a bad
copy) and is stored as a real file. Geometric steps map centre lines exactly and resample ink coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field as Setting
from pydantic import field_validator

from linegroup.config import Section, Share
from linegroup.errors import unknown_name
from linegroup.images import decode

Pixels = NDArray[np.uint8]
Range = tuple[float, float]
Weight = Annotated[float, Setting(ge=0)]

PROFILES = ("none", "web", "screenshot", "scan", "copy")


class DamageConfig(Section):
    """Which damage is done, how often and how much. Shares hold within the profiles named."""

    profile: dict[str, Weight] = Setting(
        {"none": 0.38, "web": 0.3, "screenshot": 0.1, "scan": 0.14, "copy": 0.08},
        description="none; web: JPEG, other size, palette, transparency; screenshot; scan; copy: blur and noise.",
    )
    jpeg: Share = Setting(0.55, ge=0, le=1, description="web, copy, screenshot: share stored as JPEG.")
    jpeg_quality: tuple[int, int] = Setting((30, 95), description="Range of JPEG qualities.")
    jpeg_twice: Share = Setting(0.15, ge=0, le=1, description="Share of JPEGs that were JPEGs before.")
    rescale: Share = Setting(0.4, ge=0, le=1, description="web, copy: share saved at another size.")
    rescale_range: Range = Setting((0.5, 1.5), description="New size / old size.")
    resample: Share = Setting(0.2, ge=0, le=1, description="web, copy: share made smaller and larger again.")
    palette: Share = Setting(0.15, ge=0, le=1, description="web: share stored with a palette of 4 to 256 colours.")
    transparency: Share = Setting(0.08, ge=0, le=1, description="web: share whose page is transparent.")
    blur: Share = Setting(0.5, ge=0, le=1, description="copy: share blurred.")
    blur_sigma: Range = Setting((0.4, 1.3), description="Pixels.")
    noise: Share = Setting(0.7, ge=0, le=1, description="copy: share with noise.")
    noise_sigma: Range = Setting((2, 16), description="Levels of 255.")
    subpixels: Share = Setting(0.4, ge=0, le=1, description="screenshot: share smoothed over the stripes of a display.")
    window: Share = Setting(0.5, ge=0, le=1, description="screenshot: share with something of a window around.")
    skew: Range = Setting((-3, 3), description="scan: degrees.")
    scan_grey: Share = Setting(0.85, ge=0, le=1, description="scan: share without colours.")
    scan_binary: Share = Setting(0.35, ge=0, le=1, description="scan: share in black and white only.")
    scan_light: Share = Setting(0.7, ge=0, le=1, description="scan: share lit unevenly.")
    scan_speckle: Share = Setting(0.6, ge=0, le=1, description="scan: share with specks and blots.")
    scan_bleed: Share = Setting(0.5, ge=0, le=1, description="scan: share whose ink has spread or worn off.")
    scan_copier: Share = Setting(0.0, ge=0, le=1, description="scan: share with a copier's grain along an edge.")
    scan_ghost: Share = Setting(0.15, ge=0, le=1, description="scan: share where the page's other side shines through.")

    @field_validator("profile")
    @classmethod
    def _names_profiles(cls, weights: dict[str, float]) -> dict[str, float]:
        for name in weights:
            if name not in PROFILES:
                raise ValueError(str(unknown_name("damage profile", name, PROFILES)))
        if not any(weights.values()):
            raise ValueError("one of the weights must be above 0")
        return weights

    @field_validator("jpeg_quality", "rescale_range", "blur_sigma", "noise_sigma", "skew")
    @classmethod
    def _is_range(cls, ends: tuple[float, float], info: Any) -> tuple[float, float]:
        low, high = {"jpeg_quality": (1, 100), "skew": (-45, 45), "rescale_range": (0.1, 4)}.get(
            info.field_name, (0, 100)
        )
        if not low <= ends[0] <= ends[1] <= high:
            raise ValueError(f"a range within {low} to {high}, from the smaller to the larger number; got {ends}")
        return ends


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture and its truth.

    Attributes:
        pixels: `(h, w, 3) uint8` RGB.
        lines: Centre lines, each `(n, 2)` in pixels, pixel centres at integers.
        coverage: For each line `(h, w) uint8`, 255 × the share of the pixel under its ink.
    """

    pixels: Pixels
    lines: tuple[NDArray[np.float64], ...]
    coverage: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, eq=False)
class Damaged:
    """What became of a drawing.

    Attributes:
        drawing: Picture and truth afterwards; its pixels are what `content` decodes to.
        content: The stored file.
        suffix: `.png` or `.jpg`.
        steps: Names of what was done, in order.
        scale: By how much it was made larger; thickness goes with it.
        parameters: What was drawn for the steps, JSON values.
    """

    drawing: Drawing
    content: bytes
    suffix: str
    steps: tuple[str, ...] = ()
    scale: float = 1.0
    parameters: dict[str, Any] = field(default_factory=dict)


def damage(drawing: Drawing, config: DamageConfig, rng: np.random.Generator) -> Damaged:
    """Draw a profile, do its steps, store the picture; the same state of `rng` gives the same bytes."""
    names = list(config.profile)
    shares = np.array([config.profile[name] for name in names])
    profile = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    work = _Work(drawing, config, rng)
    _PROFILES[profile](work)
    return work.stored(profile)


class _Work:
    """A drawing on its way through the steps."""

    def __init__(self, drawing: Drawing, config: DamageConfig, rng: np.random.Generator) -> None:
        self.drawing = drawing
        self.config = config
        self.rng = rng
        self.steps: list[str] = []
        self.scale = 1.0
        self.parameters: dict[str, Any] = {}
        self.format = "png"

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def uniform(self, ends: tuple[float, float]) -> float:
        return float(self.rng.uniform(*ends))

    def note(self, step: str, **values: float | str) -> None:
        self.steps.append(step)
        self.parameters[step] = {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}

    def paint(self, pixels: NDArray[Any]) -> None:
        """Another picture, the truth unmoved."""
        if pixels.dtype != np.uint8:
            pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        self.drawing = replace(self.drawing, pixels=pixels)

    def move(self, matrix: NDArray[np.float64], place: Callable[[Pixels], Pixels], pixels: Pixels) -> None:
        """Another place for everything: `matrix` maps points, `place` coverage; `pixels` are there already."""
        lines = tuple(xy @ matrix[:, :2].T + matrix[:, 2] for xy in self.drawing.lines)
        coverage = tuple(place(plane) for plane in self.drawing.coverage)
        self.drawing = Drawing(pixels, lines, coverage)
        self.scale *= float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))

    def stored(self, profile: str) -> Damaged:
        content = _STORE[self.format](self)
        self.drawing = replace(self.drawing, pixels=decode(content).pixels)
        suffix = ".jpg" if self.format == "jpeg" else ".png"
        parameters = {"profile": profile, **self.parameters}
        return Damaged(self.drawing, content, suffix, tuple(dict.fromkeys(self.steps)), self.scale, parameters)


# Profiles


def _web(work: _Work) -> None:
    config = work.config
    if work.chance(config.rescale):
        _rescale(work)
    elif work.chance(config.resample):
        _resample(work)
    if work.chance(config.jpeg):
        work.format = "jpeg"
    elif work.chance(config.palette):
        work.format = "palette"
    elif work.chance(config.transparency) and work.drawing.pixels.mean() > 200:
        work.format = "transparent"  # light pages only: pale ink shown on white would be gone


def _screenshot(work: _Work) -> None:
    work.note("screenshot")
    scale = float(work.rng.choice([0.75, 0.8, 0.9, 1.0, 1.0, 1.25, 1.5]))
    if scale != 1.0:
        _resize(work, scale, cv2.INTER_LINEAR if work.chance(0.5) else cv2.INTER_AREA)
    if work.chance(work.config.subpixels):
        _smooth_subpixels(work)
    if work.chance(work.config.window):
        _put_in_window(work)
    if work.chance(0.5 * work.config.jpeg):
        work.format = "jpeg"


def _scan(work: _Work) -> None:
    config = work.config
    work.note("scan")
    if work.chance(config.scan_grey):
        grey = cv2.cvtColor(work.drawing.pixels, cv2.COLOR_RGB2GRAY)
        work.paint(np.repeat(grey[..., None], 3, axis=2))
    if work.chance(0.5):
        _resize(work, work.uniform((0.6, 1.3)), cv2.INTER_AREA)
    _skew(work)
    ink = _Plane(work.drawing.pixels)
    if work.chance(config.scan_bleed):
        _bleed(ink, work.rng)
    if work.chance(config.scan_ghost):
        _shine_through(ink, work.rng)
    if work.chance(config.scan_light):
        _light(ink, work.rng)
    ink.value = np.asarray(cv2.GaussianBlur(ink.value, (0, 0), work.uniform((0.35, 0.9))), dtype=np.float32)
    ink.value += work.uniform((1, 9)) * work.rng.standard_normal(ink.value.shape[:2], dtype=np.float32)[..., None]
    if work.chance(config.scan_speckle):
        _speckle(ink, work.rng)
    if work.chance(config.scan_binary):
        _binarise(ink, work)
    # No dice without it: pictures of seeds from before it was there stay what they were.
    if config.scan_copier and work.chance(config.scan_copier):
        _copier_edge(ink, work)
    work.paint(ink.value)
    if work.chance(0.5):
        work.format = "jpeg"
    elif work.chance(0.5):
        work.format = "grey"


def _copy(work: _Work) -> None:
    config = work.config
    if work.chance(config.rescale):
        _rescale(work)
    if work.chance(config.resample):
        _resample(work)
    if work.chance(config.blur):
        sigma = work.uniform(config.blur_sigma)
        work.note("blur", sigma=sigma)
        work.paint(np.asarray(cv2.GaussianBlur(work.drawing.pixels, (0, 0), max(sigma, 0.05))))
    if work.chance(config.noise):
        _add_noise(work)
    if work.chance(config.jpeg):
        work.format = "jpeg"


_PROFILES: dict[str, Callable[[_Work], None]] = {
    "none": lambda _work: None,
    "web": _web,
    "screenshot": _screenshot,
    "scan": _scan,
    "copy": _copy,
}


# Steps


def _rescale(work: _Work) -> None:
    low, high = np.log(work.config.rescale_range)
    scale = float(np.exp(work.rng.uniform(low, high)))
    _resize(work, scale, int(work.rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA])))


def _resize(work: _Work, scale: float, method: int) -> None:
    """Picture edges stay edges, as OpenCV's `resize` does it."""
    height, width = work.drawing.pixels.shape[:2]
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size == (height, width):
        return
    work.note("rescale", scale=scale)
    # Programs that make pictures smaller average; one in a few does not.
    if scale < 1 and work.chance(0.8):
        method = cv2.INTER_AREA
    pixels = np.asarray(cv2.resize(work.drawing.pixels, size[::-1], interpolation=method), dtype=np.uint8)
    sy, sx = size[0] / height, size[1] / width
    exact = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR

    def place(plane: Pixels) -> Pixels:
        return np.asarray(cv2.resize(plane, size[::-1], interpolation=exact), dtype=np.uint8)

    work.move(np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5]]), place, pixels)


def _resample(work: _Work) -> None:
    """Smaller and larger again: sharpness is lost, places stay."""
    height, width = work.drawing.pixels.shape[:2]
    scale = work.uniform((0.55, 0.95))
    work.note("resample", scale=scale)
    small = cv2.resize(
        work.drawing.pixels, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    method = cv2.INTER_LINEAR if work.chance(0.5) else cv2.INTER_CUBIC
    work.paint(np.asarray(cv2.resize(small, (width, height), interpolation=method)))


def _add_noise(work: _Work) -> None:
    sigma = work.uniform(work.config.noise_sigma)
    pixels = work.drawing.pixels.astype(np.float32)
    shape = pixels.shape if work.chance(0.5) else (*pixels.shape[:2], 1)
    pixels += np.float32(sigma) * work.rng.standard_normal(shape, dtype=np.float32)
    if work.chance(0.3):
        share = work.uniform((0.0005, 0.01))
        dice = work.rng.random(pixels.shape[:2], dtype=np.float32)
        pixels[dice < share / 2] = 0
        pixels[dice > 1 - share / 2] = 255
    work.note("noise", sigma=sigma)
    work.paint(pixels)


def _smooth_subpixels(work: _Work) -> None:
    """Each channel a third of a pixel beside the others, as text is smoothed for displays with RGB stripes."""
    pixels = work.drawing.pixels.astype(np.float32)
    beside = {0: np.array([[1, 2, 0]]), 1: np.array([[0, 1, 0]]), 2: np.array([[0, 2, 1]])}
    for channel, weights in beside.items():
        kernel = weights.astype(np.float32) / weights.sum()
        pixels[..., channel] = cv2.filter2D(pixels[..., channel], -1, kernel, borderType=cv2.BORDER_REPLICATE)
    work.note("subpixels")
    work.paint(pixels)


def _put_in_window(work: _Work) -> None:
    """A bar with buttons above, edges of a window around."""
    rng = work.rng
    height, width = work.drawing.pixels.shape[:2]
    top, side = int(rng.integers(8, 46)), int(rng.integers(0, 12))
    shade = int(rng.integers(30, 250))
    page = np.full((height + top + side, width + 2 * side, 3), shade, dtype=np.uint8)
    page[top : top + height, side : side + width] = work.drawing.pixels
    for k in range(int(rng.integers(0, 5))):
        colour = tuple(int(c) for c in rng.integers(0, 255, 3))
        at = (8 + 14 * k, top // 2)
        if rng.random() < 0.5:
            cv2.circle(page, at, max(2, top // 6), colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(page, at, (at[0] + 9, at[1] + top // 5), colour, -1)
    if rng.random() < 0.5:
        cv2.line(page, (0, top - 1), (page.shape[1], top - 1), (int(shade * 0.8),) * 3, 1)
    work.note("window")
    around = ((top, side), (side, side))
    work.move(np.array([[1.0, 0, side], [0, 1, top]]), lambda plane: np.pad(plane, around), page)


def _skew(work: _Work) -> None:
    """A turn about the middle; the paper goes on outside."""
    angle = work.uniform(work.config.skew)
    height, width = work.drawing.pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    paper = tuple(float(c) for c in np.median(work.drawing.pixels[[0, -1]].reshape(-1, 3), axis=0))
    pixels = cv2.warpAffine(
        work.drawing.pixels,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=paper,
    )
    work.note("skew", degrees=angle)
    turn = np.asarray(matrix, dtype=np.float64)
    work.move(turn, lambda plane: _turned(plane, turn), np.asarray(pixels, dtype=np.uint8))


class _Plane:
    """Pixels as numbers on their way through the scanner: `(h, w, 3) float32`."""

    def __init__(self, pixels: Pixels) -> None:
        self.value: NDArray[np.float32] = pixels.astype(np.float32)


def _bleed(ink: _Plane, rng: np.random.Generator) -> None:
    """Ink that has spread, or worn off a little."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    spread = rng.random() < 0.75
    changed = cv2.erode(ink.value, kernel) if spread else cv2.dilate(ink.value, kernel)
    amount = np.float32(rng.uniform(0.2, 0.8) if spread else rng.uniform(0.1, 0.35))
    ink.value = ink.value * (1 - amount) + changed * amount


def _shine_through(ink: _Plane, rng: np.random.Generator) -> None:
    """The page's other side, mirrored and faint."""
    other = cv2.GaussianBlur(ink.value[:, ::-1], (0, 0), 1.5)
    other = np.roll(other, (int(rng.integers(-40, 41)), int(rng.integers(-40, 41))), axis=(0, 1))
    ink.value = ink.value - np.float32(rng.uniform(0.03, 0.12)) * (255 - other)


def _light(ink: _Plane, rng: np.random.Generator) -> None:
    """Light that falls off over the page, a dark edge, the tone of the paper."""
    height, width = ink.value.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    a, b, c = (np.float32(v) for v in rng.uniform(-0.12, 0.12, 3))
    light = 1 + a * x + b * y + c * x * y - np.float32(abs(a) + abs(b) + abs(c))
    if rng.random() < 0.3:  # the gutter of a book
        reach = np.float32(rng.uniform(0.02, 0.12))
        edge = np.exp(-(x + 1) / reach) if rng.random() < 0.5 else np.exp((x - 1) / reach)
        light = light * (1 - np.float32(rng.uniform(0.2, 0.7)) * edge)
    tone = np.float32(1) - (rng.uniform(0, 0.12) * np.array([0.2, 0.5, 1.0])).astype(np.float32)
    ink.value = ink.value * light[..., None] * (tone if rng.random() < 0.5 else np.float32(1))


def _speckle(ink: _Plane, rng: np.random.Generator) -> None:
    """Specks, dark and light, and a few blots."""
    height, width = ink.value.shape[:2]
    count = int(height * width * np.exp(rng.uniform(np.log(2e-5), np.log(1.5e-3))))
    rows, columns = rng.integers(0, height, count), rng.integers(0, width, count)
    dark = rng.random(count) < 0.75
    marks = np.zeros((height, width), dtype=np.float32)
    marks[rows, columns] = np.where(dark, -1.0, 1.0)
    marks = np.asarray(cv2.GaussianBlur(marks, (0, 0), rng.uniform(0.4, 0.9)), dtype=np.float32)
    marks *= np.float32(255 * rng.uniform(1.0, 2.5))
    ink.value = ink.value + marks[..., None]
    for _ in range(int(rng.integers(0, 4))):
        at = (int(rng.integers(width)), int(rng.integers(height)))
        shade = float(rng.uniform(0, 120))
        cv2.circle(ink.value, at, int(rng.integers(1, 4)), (shade, shade, shade), -1, cv2.LINE_AA)


def _copier_edge(ink: _Plane, work: _Work) -> None:
    """Grain that thins out from one side of the page, as copiers add it."""
    rng = work.rng
    height, width = ink.value.shape[:2]
    along = np.linspace(0, 1, width, dtype=np.float32)[None]
    along = along if rng.random() < 0.5 else 1 - along
    reach = np.float32(rng.uniform(0.01, 0.06))
    ragged = cv2.GaussianBlur(rng.standard_normal((height, 1)).astype(np.float32), (1, 31), 8) * np.float32(0.02)
    share = np.float32(rng.uniform(0.1, 0.6)) * np.exp(-np.maximum(along + ragged.reshape(height, 1), 0) / reach)
    grain = rng.random((height, width), dtype=np.float32) < share
    ink.value = np.where(grain[..., None], np.float32(rng.uniform(0, 90)), ink.value)
    work.note("copier")


def _binarise(ink: _Plane, work: _Work) -> None:
    grey = np.clip(ink.value.mean(axis=2), 0, 255).astype(np.uint8)
    if work.chance(0.5):
        level, black = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        if work.chance(0.5):  # a lighter hand keeps thin and pale lines, and a little of the paper
            paper = float(np.quantile(grey, 0.2))
            cut = level + work.uniform((0.0, 0.7)) * max(0.0, paper - level)
            black = np.where(grey > cut, np.uint8(255), np.uint8(0))
    else:
        black = cv2.adaptiveThreshold(
            grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 31, work.uniform((8, 20))
        )
    work.note("binary")
    ink.value = np.repeat(np.asarray(black, dtype=np.float32)[..., None], 3, axis=2)


def _turned(plane: Pixels, matrix: NDArray[np.float64]) -> Pixels:
    """Coverage turned a little, in a picture of the same size. Only the ink's bounding box is worked on."""
    height, width = plane.shape
    out = np.zeros_like(plane)
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not len(rows):
        return out
    y0, y1, x0, x1 = max(0, rows[0] - 2), rows[-1] + 3, max(0, columns[0] - 2), columns[-1] + 3
    corners = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]]) @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.clip(np.floor(corners.min(axis=0)) - 1, 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 2, 0, (width, height)).astype(int)
    if right <= left or bottom <= top:
        return out
    local = matrix.copy()
    local[:, 2] += matrix[:, :2] @ (x0, y0) - (left, top)
    size = (int(right - left), int(bottom - top))
    out[top:bottom, left:right] = cv2.warpAffine(plane[y0:y1, x0:x1], local, size, flags=cv2.INTER_LINEAR)
    return out


# Files


def _as_png(work: _Work) -> bytes:
    return _png(cv2.cvtColor(work.drawing.pixels, cv2.COLOR_RGB2BGR))


def _as_grey(work: _Work) -> bytes:
    return _png(work.drawing.pixels[..., 1])


def _png(pixels: NDArray[Any]) -> bytes:
    done, buffer = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 2])
    assert done
    return buffer.tobytes()


def _as_jpeg(work: _Work) -> bytes:
    low, high = work.config.jpeg_quality
    again = work.chance(work.config.jpeg_twice)
    for _ in range(1 + again):
        quality = int(work.rng.integers(low, high + 1))
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if work.chance(0.7) else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        work.note("jpeg", quality=quality)
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        done, buffer = cv2.imencode(".jpg", cv2.cvtColor(work.drawing.pixels, cv2.COLOR_RGB2BGR), options)
        assert done
        content: bytes = buffer.tobytes()
        work.paint(decode(content).pixels)
    return content


def _as_palette(work: _Work) -> bytes:
    colours = int(np.exp(work.uniform((np.log(4), np.log(256)))))
    dither = Image.Dither.FLOYDSTEINBERG if work.chance(0.4) else Image.Dither.NONE
    work.note("palette", colours=colours)
    image = Image.fromarray(work.drawing.pixels)
    table = image.quantize(colours, method=Image.Quantize.MEDIANCUT)
    return _pillow_png(image.quantize(palette=table, dither=dither))


def _as_transparent(work: _Work) -> bytes:
    """The page's own colour becomes nothing; where it is shown on white again, a tint is lost."""
    pixels = work.drawing.pixels
    page = np.median(pixels[[0, -1]].reshape(-1, 3), axis=0)
    alpha = np.where((pixels == page).all(axis=-1), np.uint8(0), np.uint8(255))
    work.note("transparency")
    return _pillow_png(Image.fromarray(np.dstack([pixels, alpha])))


def _pillow_png(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "PNG", compress_level=2)
    return stream.getvalue()


_STORE: dict[str, Callable[[_Work], bytes]] = {
    "png": _as_png,
    "grey": _as_grey,
    "jpeg": _as_jpeg,
    "palette": _as_palette,
    "transparent": _as_transparent,
}
