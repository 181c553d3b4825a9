"""What the page says when something goes wrong, and what it does not fall for."""

from __future__ import annotations

import io
import json
import tarfile
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pyarrow.parquet as parquet

from linegroup.masks import pixels_of
from linegroup.sources.coco_masks import runs_of
from linegroup.vectors.export import EXPORTERS
from linegroup.wire import from_json

ROWS = "#lines .row"
MARKUP = "<img src=x onerror=\"document.title='owned'\">"


def test_text_is_no_picture(page, watch, chart, upload, expected):
    watch.allowed.append("415")
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "Not a picture" in alert.inner_text()
    assert "PNG" in alert.inner_text()
    assert "Request " in alert.inner_text()
    assert not page.get_by_role("button", name="Try again").is_visible()
    assert page.locator("#empty").is_visible()
    page.get_by_role("button", name="Close this message").click()
    assert not alert.is_visible()
    upload(page, chart, len(expected.lines))


def test_damaged_picture(page, watch, chart):
    watch.allowed.append("422")
    content = chart.read_bytes()[:2000]
    page.set_input_files("#file", {"name": "half.png", "mimeType": "image/png", "buffer": content})
    page.get_by_role("alert").wait_for()
    assert "The picture is damaged" in page.get_by_role("alert").inner_text()


def test_a_setting_that_is_refused_is_marked(page, watch, upload, chart, expected):
    watch.allowed.append("422")
    upload(page, chart, len(expected.lines))
    page.get_by_role("tab", name="Settings").click()
    field = page.get_by_label("Fewest pixels of a line")
    field.fill("2.5")
    # The browser does not know that pixels are whole; the service does.
    page.get_by_role("button", name="Find lines again").click()
    page.get_by_role("alert").wait_for()
    assert field.get_attribute("aria-invalid") == "true"
    assert "min_pixels" in page.locator("#set-min_pixels-problem").inner_text()
    assert page.locator(ROWS).count() == len(expected.lines), "the lines before are still there"


def test_busy_service_is_asked_again(page, service, watch, chart, expected):
    watch.allowed.append("503")
    service.stages.busy = 2
    page.set_input_files("#file", str(chart))
    page.get_by_text("The service is busy. Trying again in").wait_for()
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === {len(expected.lines)}")
    assert service.stages.busy == 0


def test_service_that_stays_busy(page, service, watch, chart, expected):
    watch.allowed.append("503")
    service.stages.busy = 1000
    page.set_input_files("#file", str(chart))
    page.get_by_role("alert").wait_for()
    assert "The service is busy" in page.get_by_role("alert").inner_text()
    tries = 1000 - service.stages.busy
    assert 2 <= tries <= 6
    service.stages.busy = 0
    page.get_by_role("button", name="Try again").click()
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === {len(expected.lines)}")
    assert not page.get_by_role("alert").is_visible()


def test_lost_connection(page, watch, upload, chart, expected):
    watch.allowed.append("ERR_INTERNET_DISCONNECTED")
    upload(page, chart, len(expected.lines))
    page.context.set_offline(True)
    page.get_by_role("tab", name="Settings").click()
    page.get_by_role("button", name="Find lines again").click()
    page.get_by_role("alert").wait_for()
    assert "No connection" in page.get_by_role("alert").inner_text()
    assert page.locator(ROWS).count() == len(expected.lines)
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("#problem", state="hidden")
    page.wait_for_selector("#progress", state="hidden")
    assert page.locator(ROWS).count() == len(expected.lines)


def test_cancelling_gives_the_work_up(page, service, chart):
    service.stages.delay = 60
    page.set_input_files("#file", str(chart))
    page.get_by_text("Finding lines…").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector("#progress", state="hidden")
    assert not page.get_by_role("alert").is_visible()
    for _ in range(100):
        if service.stages.given_up:
            break
        page.wait_for_timeout(50)
    assert service.stages.given_up == 1


def test_a_new_picture_replaces_the_one_in_progress(page, service, chart):
    other = chart.with_name("0023.png")
    wanted = service.predictor.predict_file(other).document
    service.stages.delay = 2
    page.set_input_files("#file", str(chart))
    page.get_by_text("Finding lines…").wait_for()
    page.set_input_files("#file", str(other))
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === {len(wanted.lines)}")
    assert page.locator("#picture-name").inner_text() == "0023.png"
    assert service.stages.given_up == 1


def test_names_are_text(page, upload, chart, expected):
    # File names of the system hold no slash; those of a drop hold anything.
    page.set_input_files("#file", {"name": f"{MARKUP}.png", "mimeType": "image/png", "buffer": chart.read_bytes()})
    page.wait_for_function(f"() => document.querySelectorAll('{ROWS}').length === {len(expected.lines)}")
    assert page.locator("#picture-name").inner_text() == f"{MARKUP}.png"
    name = page.get_by_role("textbox", name="Name of line 1", exact=True)
    name.fill(MARKUP)
    name.blur()
    assert page.get_by_role("checkbox", name=f"Show {MARKUP}", exact=True).count() == 1
    page.wait_for_timeout(300)
    assert page.title() == "linegroup"
    assert page.locator("img").count() == 1, "only the page's own"


def json_of(content):
    return json.loads(content)


def check_csv(content, expected):
    rows = content.decode().splitlines()
    assert len(rows) == 1 + sum(len(line.polyline) for line in expected.lines)
    assert rows[0].startswith("image,line,colour")


def check_csv_wide(content, expected):
    rows = content.decode().splitlines()
    assert len(rows) > 10
    assert len(rows[0].split(",")) == 1 + len(expected.lines)


def check_svg(content, expected):
    paths = ElementTree.fromstring(content).findall(".//{http://www.w3.org/2000/svg}path")
    assert len(paths) == len(expected.lines)


def check_geojson(content, expected):
    assert len(json_of(content)["features"]) == len(expected.lines)


def check_coco(content, expected):
    assert len(json_of(content)["annotations"]) == len(expected.lines)


def check_labelme(content, expected):
    assert {shape["group_id"] for shape in json_of(content)["shapes"]} == {line.id for line in expected.lines}


def check_json(content, expected):
    document = from_json(content)
    assert [line.polyline for line in document.lines] == [line.polyline for line in expected.lines]
    assert document.lines[0].name == "Tiefe – 深度"


def check_wpd(content, expected):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        (project,) = [member for member in tar if member.name.endswith("wpd.json")]
        tree = json_of(tar.extractfile(project).read())
        assert any(member.name.endswith(".png") for member in tar)
    assert len(tree["datasetColl"]) == sum(len(line.parts) for line in expected.lines)


def check_parquet(content, expected):
    table = parquet.read_table(io.BytesIO(content))
    assert table.num_rows == sum(len(line.polyline) for line in expected.lines)


def check_label_png(content, expected):
    labels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (expected.image.height, expected.image.width)
    assert set(np.unique(labels)) == {0, *(line.id for line in expected.lines)}


CHECKS = {
    "csv": (check_csv, ".csv"),
    "csv_wide": (check_csv_wide, ".wide.csv"),
    "svg": (check_svg, ".svg"),
    "json": (check_json, ".json"),
    "wpd": (check_wpd, ".tar"),
    "geojson": (check_geojson, ".geojson"),
    "coco": (check_coco, ".coco.json"),
    "labelme": (check_labelme, ".labelme.json"),
    "parquet": (check_parquet, ".parquet"),
    "label_png": (check_label_png, ".labels.png"),
}


def test_every_format_can_be_had(page, upload, chart, expected):
    assert page.locator("[data-format]").count() == len(EXPORTERS)
    upload(page, chart, len(expected.lines))
    page.get_by_role("textbox", name="Name of line 1", exact=True).fill("Tiefe – 深度")
    page.get_by_role("tab", name="Download").click()
    for name in EXPORTERS:
        check, suffix = CHECKS[name]
        with page.expect_download() as waiting:
            page.locator(f"[data-format='{name}']").click()
        download = waiting.value
        assert download.suggested_filename == f"0013{suffix}"
        check(download.path().read_bytes(), expected)
        page.wait_for_function("() => !document.querySelector('[data-format][aria-busy=true]')")


def test_downloads_are_of_the_lines_that_are_shown(page, upload, chart, expected):
    """Settings that were changed but not run yet do not get into files."""
    upload(page, chart, len(expected.lines))
    page.get_by_role("tab", name="Settings").click()
    page.get_by_label("Fewest pixels of a line").fill("100000")
    page.get_by_role("tab", name="Download").click()
    with page.expect_download() as waiting:
        page.locator("[data-format='svg']").click()
    check_svg(waiting.value.path().read_bytes(), expected)


def test_masks_are_read_as_pycocotools_writes_them(page, expected):
    size = (expected.image.height, expected.image.width)
    for line in expected.lines:
        found = page.evaluate(
            """async (mask) => { const { eachPixel } = await import('./web/masks.js'); const found = [];
            eachPixel(mask, (x, y) => found.push(y * mask.size[1] + x)); return found.sort((a, b) => a - b); }""",
            line.mask.model_dump(mode="json"),
        )
        assert found == pixels_of(runs_of(line.mask.model_dump(mode="json"), size)).tolist()


def test_a_drawing_that_fails_is_not_the_last(page, watch, upload, chart, expected):
    watch.allowed.append("no such line")
    upload(page, chart, len(expected.lines))
    page.evaluate(
        """() => {
          const genuine = CanvasRenderingContext2D.prototype.clearRect;
          CanvasRenderingContext2D.prototype.clearRect = function (...where) {
            CanvasRenderingContext2D.prototype.clearRect = genuine;
            throw new Error("no such line");
          };
        }"""
    )
    drawn = "() => document.querySelector('[data-layer=lines]').dataset.drawn"
    before = page.evaluate(drawn)
    for _ in range(2):
        page.get_by_role("button", name="Larger").click()
        page.wait_for_timeout(300)
    assert any("no such line" in problem for problem in watch.problems)
    page.wait_for_function(f"before => ({drawn})() !== before", arg=before)


def test_an_example_that_cannot_be_fetched(page, watch):
    watch.allowed += ["404", "example.png"]
    page.route("**/web/example.png", lambda route: route.fulfill(status=404, body="nothing"))
    page.get_by_role("button", name="Try the example").click()
    page.get_by_text("The example cannot be fetched").wait_for()
    assert page.locator("#empty").is_visible()
    assert not page.get_by_role("alert").is_visible()


def test_a_refused_setting_of_another_method_is_not_sent(page, watch, upload, chart, expected):
    """Its field is not shown any more: nobody could take it back."""
    watch.allowed.append("422")
    upload(page, chart, len(expected.lines))
    page.get_by_role("tab", name="Settings").click()
    page.get_by_label("Method", exact=True).select_option("dbscan")
    page.get_by_label("Radius (eps)").fill("9999999")
    page.get_by_role("button", name="Find lines again").click()
    page.get_by_role("alert").wait_for()
    page.get_by_label("Method", exact=True).select_option("link")
    assert not page.get_by_label("Radius (eps)").is_visible()
    page.get_by_role("button", name="Find lines again").click()
    page.get_by_text("found in").first.wait_for()
    assert not page.get_by_role("alert").is_visible()
    page.get_by_label("Method", exact=True).select_option("dbscan")
    assert page.get_by_label("Radius (eps)").input_value() == "9999999", "the page has kept it"
