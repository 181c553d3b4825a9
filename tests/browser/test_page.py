"""The page shows what the service finds: real charts, a real service, a real browser."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from linegroup.vectors.export import EXPORTERS, ExportOptions, Picture
from linegroup.wire import Colour, ImageRecord, LineRecord, LinesDocument, ModelRecord, to_json

ROWS = "#lines .row"
STROKE = 2.25  # width of a line on the page
BORDER = 16
CONTROLS = {"button", "checkbox", "combobox", "slider", "spinbutton", "tab", "tabpanel", "textbox", "progressbar"}


def drawn_curves(record, view, size):
    """A line's polyline as it must lie on the canvas: one pixel wide, with a border around, and its points `(n, 2)`."""
    scale, left, top = view
    ink = np.zeros((size[0] + 2 * BORDER, size[1] + 2 * BORDER), np.uint8)
    points = []
    for curve in record.curves:
        xy = (np.array(curve) + 0.5) * scale + (left, top) - 0.5  # pixel centres of the canvas
        cv2.polylines(ink, [np.rint((xy + BORDER) * 16).astype(np.int32)], record.closed, 1, 1, cv2.LINE_8, 4)
        points.append(xy)
    return ink > 0, np.concatenate(points)


def distance_to(ink):
    """How far each pixel of the canvas is from ink, which may lie right beside the canvas."""
    far = cv2.distanceTransform((~ink).astype(np.uint8), cv2.DIST_L2, 5)
    return far[BORDER:-BORDER, BORDER:-BORDER]


def check_drawn(canvas, records, view):
    """What is on the canvas is these lines and nothing else."""
    shown = canvas[..., 3] > 0
    wanted = np.zeros((shown.shape[0] + 2 * BORDER, shown.shape[1] + 2 * BORDER), bool)
    for record in records:
        ink, points = drawn_curves(record, view, shown.shape)
        wanted |= ink
        inside = points[(points >= 1).all(axis=1) & (points < np.array(shown.shape[::-1]) - 2).all(axis=1)]
        near = cv2.dilate(shown.astype(np.uint8), np.ones((3, 3), np.uint8))
        missing = near[tuple(np.rint(inside[:, ::-1]).astype(int).T)] == 0
        assert not missing.any(), f"line {record.id}: {missing.sum()} of {len(missing)} points are not drawn"
    assert shown.any()
    assert distance_to(wanted)[shown].max() <= STROKE / 2 + 1.5


def colour_of(page, number):
    style = page.locator(f"{ROWS}[data-line='{number}'] .swatch").evaluate("e => getComputedStyle(e).backgroundColor")
    return np.array([int(channel) for channel in re.findall(r"\d+", style)[:3]])


def point_on(record, share=0.5):
    """A point of a line where no other is near, by its place along the longest part."""
    curve = max(record.curves, key=len)
    return np.array(curve[int(share * (len(curve) - 1))])


def on_screen(page, view, xy):
    scale, left, top = view
    box = page.locator("#stage").bounding_box()
    return box["x"] + (xy[0] + 0.5) * scale + left, box["y"] + (xy[1] + 0.5) * scale + top


def lonely_point(document, number):
    """A point of a line that is far from all others."""
    others = np.concatenate([np.array(line.polyline) for line in document.lines if line.id != number])
    points = np.array(document.lines[number - 1].polyline)
    far = np.linalg.norm(points[:, None] - others[None], axis=2).min(axis=1)
    assert far.max() > 20
    return points[int(far.argmax())]


@pytest.mark.parametrize("name", ["0013.png", "0023.png"])
def test_lines_are_those_of_predict(page, service, upload, layer, view_of, chart, name):
    path = chart.with_name(name)
    expected = service.predictor.predict_file(path).document
    upload(page, path, len(expected.lines))
    for record in expected.lines:
        row = page.locator(f"{ROWS}[data-line='{record.id}']")
        facts = row.locator(".facts").inner_text().replace(",", "")
        assert facts.endswith(f" {record.pixel_count} pixels")
        length = sum(
            np.linalg.norm(np.diff(np.array([*c, c[0]] if record.closed else c), axis=0), axis=1).sum()
            for c in record.curves
        )
        assert abs(int(facts.split()[0]) - length) <= 1
    check_drawn(layer(page, "lines"), expected.lines, view_of(page))
    colours = {tuple(colour_of(page, record.id)) for record in expected.lines}
    assert len(colours) == len(expected.lines)
    assert f"{len(expected.lines)} lines found" in page.locator("#said").inner_text()


def test_each_line_alone_in_its_colour(page, upload, layer, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    for record in expected.lines:
        page.get_by_role("button", name=f"Show only Line {record.id}", exact=True).click()
        page.mouse.move(640, 20)
        canvas = layer(page, "lines")
        check_drawn(canvas, [record], view_of(page))
        solid = canvas[canvas[..., 3] == 255][:, :3]
        assert len(solid)
        assert np.abs(solid.astype(int) - colour_of(page, record.id)).max() <= 2


def test_hide_and_show(page, upload, layer, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    page.get_by_role("checkbox", name="Show Line 2", exact=True).uncheck()
    rest = [record for record in expected.lines if record.id != 2]
    check_drawn(layer(page, "lines"), rest, view_of(page))
    everything = page.get_by_role("checkbox", name="Show all")
    assert everything.evaluate("e => e.indeterminate")
    assert page.locator("#line-count").inner_text() == f"{len(rest)} of {len(expected.lines)}"
    everything.check()
    check_drawn(layer(page, "lines"), expected.lines, view_of(page))
    everything.uncheck()
    assert not layer(page, "lines").any()


def test_hovering_goes_both_ways(page, upload, layer, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    assert not layer(page, "top").any()
    page.locator(f"{ROWS}[data-line='2'] .facts").hover()
    top = layer(page, "top")
    ink, _ = drawn_curves(expected.lines[1], view_of(page), top.shape[:2])
    far = distance_to(ink)
    assert (top[..., 3] > 0).any()
    assert far[top[..., 3] > 0].max() < 6
    dimmed = page.locator("canvas[data-layer=lines]").evaluate("e => Number(e.style.opacity)")
    assert dimmed < 0.5

    page.mouse.move(640, 20)
    assert not layer(page, "top").any()
    for number in (1, 2):
        page.mouse.move(*on_screen(page, view_of(page), lonely_point(expected, number)))
        page.wait_for_selector(f"{ROWS}.hovered[data-line='{number}']")
        assert page.locator(f"{ROWS}.hovered").count() == 1


def test_a_hidden_line_is_not_pointed_at(page, upload, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    page.get_by_role("checkbox", name="Show Line 1", exact=True).uncheck()
    page.mouse.move(*on_screen(page, view_of(page), lonely_point(expected, 1)))
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.locator(f"{ROWS}.hovered").count() == 0


def test_clicking_selects_until_elsewhere_is_clicked(page, upload, layer, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    page.mouse.click(*on_screen(page, view_of(page), lonely_point(expected, 1)))
    page.mouse.move(640, 20)
    assert page.locator(f"{ROWS}.selected").get_attribute("data-line") == "1"
    assert layer(page, "top").any()
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + 4, box["y"] + 4)
    assert page.locator(f"{ROWS}.selected").count() == 0


def test_zoom_and_pan(page, upload, layer, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    fitted = view_of(page)
    # A whole place on the screen, as those of wheel events are.
    at = np.rint(on_screen(page, fitted, lonely_point(expected, 1)))
    box = page.locator("#stage").bounding_box()
    place = (at - (box["x"], box["y"]) - fitted[1:]) / fitted[0] - 0.5
    page.mouse.move(*at)
    for _ in range(4):
        page.mouse.wheel(0, -200)
    page.wait_for_function(f"() => Number(document.querySelector('#stage').dataset.scale) > {2 * fitted[0]}")
    near = view_of(page)
    assert np.allclose(on_screen(page, near, place), at, atol=0.5), "the place under the pointer stays there"
    page.mouse.move(640, 20)
    check_drawn(layer(page, "lines"), expected.lines, near)

    page.mouse.move(*at)
    page.mouse.down()
    page.mouse.move(at[0] + 30, at[1] - 20, steps=3)
    page.mouse.move(at[0] + 60, at[1] - 40, steps=3)
    page.mouse.up()
    moved = view_of(page)
    assert np.allclose(on_screen(page, moved, place), (at[0] + 60, at[1] - 40), atol=0.5)
    assert moved[0] == near[0]
    page.mouse.move(640, 20)
    check_drawn(layer(page, "lines"), expected.lines, moved)

    page.get_by_role("button", name="Show the whole picture").click()
    assert np.allclose(view_of(page), fitted)
    page.get_by_role("button", name="Larger").click()
    assert view_of(page)[0] == pytest.approx(1.25 * fitted[0])
    assert page.locator("#zoom-level").inner_text() == f"{round(125 * fitted[0])} %"
    page.get_by_role("button", name="Smaller").click()
    assert view_of(page)[0] == pytest.approx(fitted[0])


def test_keys_on_the_picture(page, upload, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    fitted = view_of(page)
    page.locator("#stage").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    larger = view_of(page)
    assert larger[0] == pytest.approx(1.25**2 * fitted[0])
    page.keyboard.press("ArrowRight")
    assert view_of(page)[1] == pytest.approx(larger[1] - 60)
    page.keyboard.press("ArrowUp")
    assert view_of(page)[2] == pytest.approx(larger[2] + 60)
    page.keyboard.press("1")
    assert view_of(page)[0] == pytest.approx(1)
    page.keyboard.press("0")
    assert np.allclose(view_of(page), fitted)


def test_all_by_keyboard(page, upload, layer, chart, expected):
    upload(page, chart, len(expected.lines))
    page.locator("#show-all").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Show Line 1"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert not page.get_by_role("checkbox", name="Show Line 2", exact=True).is_checked()
    assert page.locator(f"{ROWS}.hovered").get_attribute("data-line") == "2"
    page.keyboard.press("Tab")
    page.keyboard.type("Revenue")
    page.keyboard.press("Enter")
    assert page.get_by_role("checkbox", name="Show Revenue", exact=True).count() == 1

    page.get_by_role("tab", name="Lines").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tabpanel", name="Settings").is_visible()
    page.keyboard.press("End")
    assert page.get_by_role("tabpanel", name="Download").is_visible()
    assert page.locator("[role=tab][tabindex='0']").count() == 1


def test_looks(page, upload, layer, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    page.get_by_role("slider", name="Opacity of the lines").fill("40")
    assert page.locator("canvas[data-layer=lines]").evaluate("e => Number(e.style.opacity)") == pytest.approx(0.4)
    before = layer(page, "picture").astype(int)
    page.get_by_role("slider", name="Opacity of the picture").fill("100")
    full = layer(page, "picture").astype(int)
    assert full.sum() < before.sum(), "the ink of the chart is darker"
    page.get_by_role("slider", name="Opacity of the picture").fill("0")
    blank = layer(page, "picture")
    assert (blank[blank[..., 3] == 255] == 255).all(), "nothing but paper is left"

    page.get_by_role("combobox", name="Colours").select_option("picture")
    for record in expected.lines:
        assert tuple(colour_of(page, record.id)) == record.colour.rgb


def test_pixels_are_those_of_the_masks(page, upload, layer, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    page.get_by_role("checkbox", name="Pixels").check()
    page.get_by_role("checkbox", name="Centre lines").uncheck()
    canvas = layer(page, "lines")
    scale, left, top = view_of(page)
    content = EXPORTERS["label_png"].write([Picture(expected)], ExportOptions())
    labels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    ys, xs = np.indices(labels.shape).reshape(2, -1)
    shown = canvas[((ys + 0.5) * scale + top).astype(int), ((xs + 0.5) * scale + left).astype(int)]
    assert ((shown[:, 3] == 255) == (labels.ravel() > 0)).all()
    for record in expected.lines:
        assert (shown[labels.ravel() == record.id][:, :3] == colour_of(page, record.id)).all()


def test_other_settings(page, service, upload, layer, view_of, chart, expected):
    upload(page, chart, len(expected.lines))
    page.get_by_role("tab", name="Settings").click()
    assert page.get_by_label("Method").input_value() == service.predictor.grouping.method
    page.get_by_label("Method").select_option("components")
    page.get_by_label("Pixels to group").select_option("non_white")
    page.get_by_label("Darker than").fill("200")
    page.get_by_label("Fewest pixels of a line").fill("300")
    changes = {"method": "components", "candidates": "non_white", "white_threshold": 200, "min_pixels": 300}
    other = replace(service.predictor, grouping=service.predictor.grouping.changed(changes))
    wanted = other.predict_file(chart).document
    assert len(wanted.lines) != len(expected.lines)
    page.get_by_role("button", name="Find lines again").click()
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === {len(wanted.lines)}")
    page.get_by_role("tab", name="Lines").click()
    page.mouse.move(640, 20)
    check_drawn(layer(page, "lines"), wanted.lines, view_of(page))

    page.get_by_role("tab", name="Settings").click()
    page.get_by_role("button", name="Reset").click()
    assert page.get_by_label("Method").input_value() == service.predictor.grouping.method
    assert page.get_by_label("Darker than").count() == 0 or not page.get_by_label("Darker than").is_visible()
    page.get_by_role("button", name="Find lines again").click()
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === {len(expected.lines)}")


def test_narrow_window(open_page, upload, layer, view_of, chart, expected):
    page = open_page(width=360, height=740, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    upload(page, chart, len(expected.lines))
    for tab in ("Lines", "Settings", "Download"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    check_drawn(layer(page, "lines"), expected.lines, view_of(page))


@pytest.mark.parametrize("state", ["empty", "lines"])
def test_every_control_has_a_name(page, upload, chart, state):
    if state == "lines":
        upload(page, chart)
    session = page.context.new_cdp_session(page)
    nameless, counted = [], 0
    for tab in ("Lines", "Settings", "Download"):
        page.get_by_role("tab", name=tab).click()
        for node in session.send("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if node.get("ignored") or role not in CONTROLS:
                continue
            counted += 1
            if not node.get("name", {}).get("value", "").strip():
                nameless.append((tab, role))
    assert counted > 20
    assert not nameless


def test_dropped_and_pasted_pictures(page, chart, expected):
    content = base64.b64encode(chart.read_bytes()).decode()
    page.evaluate(
        """(content) => { window.given = () => { const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], 'dropped.png',
        {type: 'image/png'})); return data; } }""",
        content,
    )
    page.evaluate("document.body.dispatchEvent(new DragEvent('dragenter', {dataTransfer: given(), bubbles: true}))")
    assert page.locator(".drop-here").is_visible()
    page.evaluate("document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: given(), bubbles: true}))")
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === {len(expected.lines)}")
    assert not page.locator(".drop-here").is_visible()
    assert page.locator("#picture-name").inner_text() == "dropped.png"

    page.reload()
    page.wait_for_selector("html.ready")
    page.evaluate(
        """(content) => { const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], 'image.png'));
        document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true})) }""",
        content,
    )
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === {len(expected.lines)}")


def test_a_picture_that_browsers_cannot_show(page, upload, layer, view_of, chart, expected, tmp_path):
    path = tmp_path / "chart.tif"
    assert cv2.imwrite(str(path), cv2.imread(str(chart)))
    upload(page, path, len(expected.lines))
    paper = layer(page, "picture")
    assert (paper[paper[..., 3] == 255] == 255).all()
    check_drawn(layer(page, "lines"), expected.lines, view_of(page))


def test_a_turned_photograph_lies_below_its_lines(page, service, upload, layer, view_of, chart, tmp_path):
    picture = Image.open(chart).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    wanted = service.predictor.predict_file(path).document
    assert (wanted.image.width, wanted.image.height) == picture.size
    upload(page, chart)
    upright = layer(page, "picture").astype(int)
    upload(page, path, len(wanted.lines))
    turned = layer(page, "picture").astype(int)
    assert np.abs(turned - upright).mean() < 2
    check_drawn(layer(page, "lines"), wanted.lines, view_of(page))


def test_no_lines(page, upload, layer, tmp_path):
    path = tmp_path / "blank.png"
    cv2.imwrite(str(path), np.full((60, 80, 3), 255, np.uint8))
    upload(page, path, 0)
    assert page.get_by_text("No lines were found.").is_visible()
    assert not layer(page, "lines").any()
    assert page.get_by_role("checkbox", name="Show all").is_disabled()


def test_the_example(page):
    page.get_by_role("button", name="Try the example").click()
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === 5")


def test_many_lines_stay_quick(page, service, upload, layer, view_of, chart):
    """200 lines of 1,000 points: zooming answers at once, with what was drawn last, and draws anew afterwards."""
    x = np.linspace(5, 1995, 1000)
    records = []
    for k in range(200):
        y = 40 + 7 * k + 15 * np.sin(x / 40 + k)
        box = (5, int(y.min()), 1991, int(np.ptp(y)) + 2)
        records.append(
            LineRecord(id=k + 1, score=1, pixel_count=2000, bbox=box, colour=Colour.of(1, 2, 3),
                       polyline=np.round(np.stack([x, y], axis=1), 2).tolist())
        )  # fmt: skip
    document = LinesDocument(
        image=ImageRecord(width=2000, height=1500), lines=records, parameters={},
        model=ModelRecord(name="none", version="1"), timings_ms={},
    )  # fmt: skip
    service.stages.instead = to_json(document).encode()
    upload(page, chart, 200)
    check_drawn(layer(page, "lines"), records, view_of(page))
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    started = time.monotonic()
    for _ in range(10):
        page.mouse.wheel(0, -150)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert time.monotonic() - started < 10
    page.mouse.move(640, 20)
    check_drawn(layer(page, "lines"), records, view_of(page))
