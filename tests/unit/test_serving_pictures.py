"""Pictures that anybody may send."""

import io
import json
import re
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits=8, colour=0, data=b"", extra=b""):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return PNG + chunk(b"IHDR", header) + extra + (chunk(b"IDAT", data) if data else b"") + chunk(b"IEND", b"")


def zeros(count):
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(count >> 20)) + packer.flush()


def saved(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def chart(mode="RGB"):
    image = Image.new("RGB", (60, 40), "white")
    for x in range(5, 55):
        for dy in range(2):
            image.putpixel((x, 10 + x // 4 + dy), (200, 0, 0))
    return image.convert(mode)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(chart(), "JPEG", exif=exif, quality=95)


def sixteen_bits():
    grey = np.asarray(chart("L")).astype(np.uint16) * 257
    return saved(Image.fromarray(grey))


CHART = saved(chart())
GOOD = {
    "png": CHART,
    "jpeg": saved(chart(), "JPEG"),
    "cmyk": saved(chart("CMYK"), "JPEG"),
    "16 bit": sixteen_bits(),
    "1 bit": saved(chart("1")),
    "palette": saved(chart("P")),
    "alpha": saved(chart("RGBA")),
    "animated gif": saved(
        chart("P"), "GIF", save_all=True, append_images=[Image.new("P", (60, 40), k) for k in (1, 2)]
    ),
    "animated png": saved(
        chart(), "PNG", save_all=True, append_images=[Image.new("RGB", (60, 40), c) for c in ("red", "blue")]
    ),
    "webp": saved(chart(), "WEBP"),
    "tiff": saved(chart(), "TIFF"),
    "bmp": saved(chart(), "BMP"),
    "polyglot with zip": CHART + b"PK\x03\x04" + bytes(200),
    "1 x 1": saved(Image.new("RGB", (1, 1))),
    "1 x 6000": saved(Image.new("RGB", (1, 6000), "white")),
    "odd": saved(Image.new("L", (37, 53), 255)),
    **{f"exif {k}": turned(k) for k in range(1, 9)},
}
BAD = {
    "empty": (b"", 422),
    "text": (b"hello", 415),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', 415),
    "html": (b"<img src=x onerror=alert(1)>", 415),
    "noise": (bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)), 415),
    "truncated png": (CHART[: len(CHART) // 2], 422),
    "truncated jpeg": (GOOD["jpeg"][:300], 422),
    "bad crc of the header": (CHART[:29] + b"xx" + CHART[31:], 415),
    "no pixels": (png(10, 10), 422),
    "0 x 0": (png(0, 0, data=zlib.compress(b"")), 415),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", 415),
    "header only 65535": (png(65535, 65535), 413),
    "header only 12000": (png(12000, 12000), 413),
    "1 bit 32767": (png(32767, 32767, 1, data=zeros(4096 * 32767)), 413),
    "grey 12000": (png(12000, 12000, data=zeros(12001 * 12000)), 413),
    "text bomb": (png(60, 40, data=zlib.compress(bytes(61 * 40)),
                      extra=chunk(b"zTXt", b"a\0\0" + zeros(50 << 20))), 422),
}  # fmt: skip


@pytest.fixture(scope="module")
def client(serve, local_stages):
    with serve(local_stages) as client:
        # On a fresh machine the first ones compile, and may take longer than a request is given.
        for path, method in (("/v1/lines", "link"), ("/v1/cluster", "dbscan"), ("/v1/lines", "dbscan")):
            for _ in range(6):
                fields = {"clustering_method": method}
                if client.post(path, files={"file": ("a.png", CHART)}, data=fields).status_code != 504:
                    break
        yield client


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("path", ["/v1/lines", "/v1/cluster"])
def test_good_pictures(client, path, name):
    reply = client.post(path, files={"file": (name, GOOD[name])})
    assert reply.status_code == 200, reply.text
    tree = reply.json()
    image = tree["image"] if "image" in tree else tree["meta"]["image"]
    if name.startswith("exif"):
        orientation = int(name[-1])
        assert image["orientation_applied"] == orientation
        assert (image["width"], image["height"]) == ((60, 40) if orientation < 5 else (40, 60))
    if name.startswith("animated"):
        assert image["frames"] > 1


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("path", ["/v1/lines", "/v1/cluster"])
def test_bad_pictures_are_told_apart_at_once(client, path, name):
    content, status = BAD[name]
    started, wall = time.process_time(), time.monotonic()
    reply = client.post(path, files={"file": ("a.png", content)})
    spent, waited = time.process_time() - started, time.monotonic() - wall
    assert reply.status_code == status, reply.text
    tree = reply.json()
    assert tree["error"]["field"] == "file"
    assert tree["error"]["message"]
    assert spent < 0.2
    assert waited < 5


def test_a_batch_of_bad_pictures_fails_one_by_one(client):
    uploads = [("files", (name, content)) for name, (content, _) in BAD.items()] + [("files", ("good", CHART))]
    rows = [json.loads(row) for row in client.post("/v1/lines", files=uploads).text.splitlines()]
    assert {row["name"]: row["status"] for row in rows} == {name: status for name, (_, status) in BAD.items()} | {
        "good": 200
    }


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>.png", "../../etc/passwd", "a\u202eb\u00e9.png", "x" * 3000]
)
def test_file_names_are_text(client, name):
    reply = client.post("/v1/lines", files={"file": (name, CHART)}, data={"format": "svg"})
    assert reply.status_code == 200
    assert "<img" not in reply.text
    assert re.fullmatch(r'inline; filename="[A-Za-z0-9._-]+"', reply.headers["content-disposition"])
    document = client.post("/v1/lines", files={"file": (name, CHART)}).json()
    assert "/" not in document["image"]["name"]
    assert len(document["image"]["name"]) <= 255


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
@pytest.mark.parametrize("method", ["components", "dbscan"])
def test_pictures_of_a_single_row_or_column(client, size, method):
    """Legal and odd: positions beyond 16 bits are not far, and every other pixel is a line of its own."""
    image = Image.new("L", size, 255)
    image.putdata([0, 255] * 30_000)
    fields = {"clustering_method": method, "candidate_method": "non_white", "min_pixels": "1"}
    started = time.monotonic()
    for path in ("/v1/cluster", "/v1/lines"):
        reply = client.post(path, files={"file": ("a.png", saved(image))}, data=fields)
        assert reply.status_code in (200, 422), reply.text
        if reply.status_code == 200 and path == "/v1/cluster":
            tree = reply.json()
            assert (tree["meta"]["image"]["width"], tree["meta"]["image"]["height"]) == size
            seen = [point for points in [*tree["clusters"].values(), tree["noise"]] for point in points]
            assert sorted(seen) == [[k, 0] if size[0] > 1 else [0, k] for k in range(0, 60_000, 2)]
    assert time.monotonic() - started < 60
