"""Decoding pictures that anybody may have made."""

import io
import itertools
import re
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from linegroup.errors import UserError
from linegroup.images import MOST_FRAMES, ImageError, decode, encode_png, image_size, read_image


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width, height, bits, colour, data, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", data) if data else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def zeros(count):
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    packed = b"".join(packer.compress(block) for _ in range(count >> 20))
    return packed + packer.compress(bytes(count & ((1 << 20) - 1))) + packer.flush()


def saved(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def scene(height=20, width=30):
    """No two of its eight flips and turns are equal."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[: height // 2, : width // 3] = (200, 0, 0)
    pixels[: height // 4, width // 2 :] = (0, 0, 200)
    return pixels


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_lossless_formats(form):
    options = {"lossless": True} if form == "WEBP" else {}
    found = decode(saved(Image.fromarray(scene()), form, **options))
    assert np.array_equal(found.pixels, scene())
    assert (found.format, found.frames, found.orientation) == (form, 1, 1)
    assert found.pixels.flags.writeable
    assert found.pixels.flags.c_contiguous


def test_jpeg():
    found = decode(saved(Image.fromarray(scene()), "JPEG", quality=95, subsampling=0))
    assert np.abs(found.pixels.astype(int) - scene()).mean() < 4


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_undone(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    content = saved(Image.fromarray(scene()), form, exif=exif, **options)
    expected = UPRIGHT[orientation](scene())
    found = decode(content)
    assert found.orientation == orientation
    assert found.pixels.shape == expected.shape
    assert np.abs(found.pixels.astype(int) - expected).mean() < 4
    assert image_size(content) == expected.shape[:2]


def test_exif_behind_the_pixels_of_a_png():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(Image.fromarray(scene()))
    tail = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    moved = content[:-12] + tail + content[-12:]
    assert decode(moved).orientation == 6
    assert image_size(moved) == (30, 20)


def test_broken_exif_does_not_cost_the_picture():
    content = saved(Image.fromarray(scene()), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff junk")
    assert decode(content).pixels.shape == (20, 30, 3)
    assert decode(saved(Image.fromarray(scene()), "JPEG", exif=b"Exif\0\0nonsense")).orientation == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_becomes_white(mode):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[1, 2] = (0, 0, 0, 255)
    rgba[2, 3] = (0, 0, 0, 128)
    found = decode(saved(Image.fromarray(rgba).convert(mode))).pixels
    assert found[0, 0].tolist() == [255] * 3
    assert found[1, 2].tolist() == [0] * 3
    assert 126 <= found[2, 3, 0] <= 128


def test_palette_with_transparent_entries():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    found = decode(saved(image, transparency=bytes([0, 255, 255])))
    assert found.pixels.tolist() == [[[255, 255, 255], [255, 0, 0], [0, 0, 255]]]


def test_sixteen_bits_are_scaled():
    grey = np.array([[0, 10924, 32768, 65535]], np.uint16)
    assert decode(encode_png(grey)).pixels[0, :, 0].tolist() == [0, 43, 128, 255]
    assert decode(saved(Image.fromarray(grey), "TIFF")).pixels[0, :, 1].tolist() == [0, 43, 128, 255]
    rgb = struct.pack(">3H", 65535, 32768, 0)
    assert decode(png_file(1, 1, 16, 2, zlib.compress(b"\0" + rgb))).pixels[0, 0].tolist() == [255, 128, 0]


def test_sixteen_bits_with_a_transparent_value():
    data = zlib.compress(b"\0" + struct.pack(">2H", 0, 300))
    content = png_file(2, 1, 16, 0, data, chunk(b"tRNS", struct.pack(">H", 0)))
    assert decode(content).pixels[0, :, 0].tolist() == [255, 1]


def test_cmyk():
    page = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    assert decode(saved(page, "JPEG", quality=100)).pixels.min() >= 253


def test_one_bit():
    assert decode(saved(Image.new("1", (9, 5), 1))).pixels.shape == (5, 9, 3)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_is_taken_and_frames_are_counted(form):
    frames = [Image.new("RGB", (4, 3), (60 * k, 0, 0)) for k in range(3)]
    options = {"lossless": True} if form == "WEBP" else {}
    found = decode(saved(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert found.frames == 3
    assert found.pixels.max() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 60000), (60000, 1)])
def test_thin_pictures(size):
    content = encode_png(np.full(size, 7, np.uint8))
    assert decode(content).pixels.shape == (*size, 3)
    assert image_size(content) == size


def bombs():
    return {
        "header only": png_file(65535, 65535, 8, 2, b""),
        "one bit": png_file(32767, 32767, 1, 0, zeros(32767 * 4097)),
        "grey": png_file(12000, 12000, 8, 0, zeros(12000 * 12001)),
        "wide": png_file(2**31 - 1, 1, 8, 0, b""),
        "text": png_file(2, 2, 8, 0, zlib.compress(bytes(6)), chunk(b"zTXt", b"Comment\0\0" + zeros(50 << 20))),
    }


@pytest.fixture(scope="module")
def bomb_files():
    return bombs()


@pytest.mark.parametrize("name", ["header only", "one bit", "grey", "wide", "text"])
@pytest.mark.parametrize("read", [decode, image_size])
def test_bombs_are_refused_quickly(bomb_files, name, read):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracemalloc.start()
        start = time.process_time()
        with pytest.raises(ImageError, match=r"pixels|damaged"):
            read(bomb_files[name])
        spent, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert spent < 0.2
    assert peak < 20 << 20


def test_limit_is_the_callers(bomb_files):
    content = encode_png(np.zeros((30, 40), np.uint8))
    assert decode(content, max_pixels=1200).pixels.shape == (30, 40, 3)
    with pytest.raises(ImageError, match=r"40 × 30 = 1,200 pixels; at most 1,199"):
        decode(content, max_pixels=1199)
    assert image_size(bomb_files["grey"], max_pixels=200_000_000) == (12000, 12000)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"GIF89a", b"<svg xmlns='x'/>", b"\x89PNG\r\n\x1a\n", b"II*\0", b"%!PS"]
)
def test_no_picture(content):
    for read in (decode, image_size):
        with pytest.raises(ImageError, match=r"empty|no picture|damaged"):
            read(content)


def test_noise():
    rng = np.random.default_rng(5)
    for head in (
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"BM",
        b"II*\0\x08\0\0\0",
        b"RIFFxxxxWEBPVP8 ",
    ):
        for _ in range(40):
            with pytest.raises(ImageError):
                decode(head + rng.bytes(200))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_damaged_anywhere_is_a_picture_or_an_image_error(form):
    """Flipped bytes and cuts: nothing but `ImageError`, and no warning."""
    content = saved(Image.fromarray(scene(40, 50)), form)
    rng = np.random.default_rng(1)
    refused = 0
    for number in range(150):
        broken = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            broken[place] = rng.integers(0, 256)
        broken = broken[: rng.integers(0, len(content))] if number % 2 else broken
        try:
            decode(bytes(broken))
        except ImageError:
            refused += 1
    assert refused > 20


def test_truncated():
    noise = np.random.default_rng(2).integers(0, 255, (50, 50, 3), np.uint8)
    for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        content = saved(Image.fromarray(noise), form)
        with pytest.raises(ImageError, match=r"damaged|no picture"):
            decode(content[: len(content) // 2])


def test_other_formats_are_not_tried():
    for form in ("PPM", "TGA", "ICO", "JPEG2000", "EPS"):
        with pytest.raises(ImageError, match="use one of PNG, JPEG"):
            decode(saved(Image.fromarray(scene(32, 32)), form))


def test_many_frames_are_quick():
    frames = [Image.new("P", (2, 2), k % 2) for k in range(1000)]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=False)
    start = time.process_time()
    assert decode(content).frames > 1
    assert time.process_time() - start < 0.5


def tiff(*directories, order="<", big=False, tail=b""):
    """A TIFF of chained directories, each a mapping of tag to number; `{}` stands for one 1 × 1 grey pixel."""
    grey = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 1}
    head, count, entry, link = (16, "Q", "HHQQ", "Q") if big else (8, "H", "HHII", "I")
    mark = {"<": b"II", ">": b"MM"}[order]
    content = mark + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, head) if big else (42, head)))
    for number, tags in enumerate(directories):
        body = struct.pack(order + count, len(grey | tags))
        for tag, value in sorted((grey | tags).items()):
            body += struct.pack(order + entry, tag, 4 if not big else 16, 1, value)
        after = len(content) + len(body) + struct.calcsize(order + link)
        content += body + struct.pack(order + link, after if number < len(directories) - 1 else 0)
    return content + tail


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_frames_of_a_tiff_are_counted_without_parsing_them(order, big):
    assert decode(tiff({}, order=order, big=big)).frames == 1
    assert decode(tiff({}, {}, {}, order=order, big=big)).frames == 3
    directory = tiff({})[8:-4]
    length = len(directory) + 4
    links = (struct.pack("<I", 8 + length * number) for number in range(1, 30_001))
    content = tiff()[:8] + b"".join(directory + link for link in links)
    start = time.process_time()
    assert decode(content).frames == MOST_FRAMES
    assert time.process_time() - start < 0.5


def test_endless_chain_of_directories():
    content = tiff({}, {})
    assert decode(content[:-4] + struct.pack("<I", 8)).frames == 2
    assert decode(content[:-4] + struct.pack("<I", 2**32 - 1)).frames == 2


def test_tiles_larger_than_the_picture():
    def tiled(side):
        return tiff({322: side, 323: side, 324: 0, 325: 1}, tail=bytes(100))

    for read in (decode, image_size):
        with pytest.raises(ImageError, match="tiles of 30000 × 30000 pixels; at most 25,000,000"):
            read(tiled(30_000))
    assert image_size(tiled(16)) == (1, 1)


def test_tiles_of_which_readers_take_different_sizes():
    content = tiff({322: 30_000, 323: 30_000, 324: 0, 325: 1, 326: 16, 327: 16})
    for late, tag in ((326, 322), (327, 323)):
        content = content.replace(struct.pack("<HH", late, 4), struct.pack("<HH", tag, 4))
    for read in (decode, image_size):
        with pytest.raises(ImageError, match="unclear size of its tiles"):
            read(content)
        with pytest.raises(ImageError, match="unclear size of its tiles"):
            read(tiff({322: 16, 323: 16}).replace(struct.pack("<HH", 322, 4), struct.pack("<HH", 322, 2)))


@pytest.mark.parametrize("compression", ["jpeg", "tiff_adobe_deflate"])
def test_tiff_of_many_strips(compression):
    page = Image.fromarray(np.full((2000, 16, 3), 90, np.uint8))
    content = saved(page, "TIFF", compression=compression, tiffinfo={278: 8})
    found = decode(content).pixels
    assert found.shape == (2000, 16, 3)
    assert np.abs(found.astype(int) - 90).max() < 4
    assert compression != "jpeg" or content.count(b"\xff\xda") > 100


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
def test_scans_without_end(form):
    stills = {"append_images": [Image.fromarray(scene())], "save_all": True} if form == "MPO" else {}
    content = saved(Image.fromarray(scene(64, 64)), form, progressive=True, **stills)
    assert decode(content).pixels.shape == (64, 64, 3)
    first, second = (found.start() for found in itertools.islice(re.finditer(b"\xff\xda", content), 1, 3))
    scan = content[first:second]
    assert decode(content[:second] + scan * 20 + content[second:]).pixels.shape == (64, 64, 3)
    for read in (decode, image_size):
        with pytest.raises(ImageError, match=r"scans of all its pixels; at most 100 are allowed"):
            read(content[:second] + scan * 200 + content[second:])


def test_many_colour_profiles():
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(900_000)))
    pixel = zlib.compress(bytes(2))
    assert decode(png_file(1, 1, 8, 0, pixel, profile)).pixels.shape == (1, 1, 3)
    start = time.process_time()
    with pytest.raises(ImageError, match="many colour profiles"):
        decode(png_file(1, 1, 8, 0, pixel, profile * 500))
    assert time.process_time() - start < 0.1


def test_warning_filters_survive_threads():
    text = PngImagePlugin.PngInfo()
    text.add_text("XML:com.adobe.xmp", "x")
    contents = [saved(Image.fromarray(scene()), form) for form in ("PNG", "TIFF", "JPEG")]
    contents.append(saved(Image.fromarray(scene()), pnginfo=text))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert all(found.pixels.shape == (20, 30, 3) for found in pool.map(decode, contents * 100))
    assert warnings.filters == before


def test_import_changes_no_setting_of_pillow():
    names = "(Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)"
    script = f"from PIL import Image, ImageFile; a = {names}; import linegroup.images; assert a == {names}"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_read_image_names_the_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(scene()))
    assert np.array_equal(read_image(path).pixels, scene())
    path.write_bytes(b"x")
    with pytest.raises(ImageError, match=r"a\.png: This is no picture"):
        read_image(path)
    for wrong in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match=r"Cannot read .*: (No such file|Is a directory)"):
            read_image(wrong)


def test_encode_png():
    labels = np.arange(70000, dtype=np.int64).reshape(7, -1).astype(np.uint16)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(labels)))), labels)
    assert encode_png(labels) == encode_png(labels[:, ::-1][:, ::-1])
    assert np.array_equal(decode(encode_png(scene()[:, ::2])).pixels, scene()[:, ::2])
    for wrong in (labels.astype(np.int32), np.zeros((3, 3, 4), np.uint8), np.zeros((0, 3), np.uint8), scene() / 255):
        with pytest.raises(UserError, match="A PNG is made of"):
            encode_png(wrong)
