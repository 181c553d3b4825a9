"""The sharding job: same bytes by every way, nothing lost on a kill, clear errors."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from linegroup import files as atomic_files
from linegroup.cli import app
from linegroup.distributed import coco_job
from linegroup.distributed import data as job_module
from linegroup.distributed.data import ShardJob, ShardProgress, make_shards, make_shards_serial
from linegroup.errors import UserError
from linegroup.files import sha256_of
from linegroup.shards import MANIFEST, REJECTS, ShardSet

CHARTS = 20


def write_charts(root: Path, count: int = CHARTS, size=(24, 32)) -> None:
    """A COCO file with one two-line chart per id and two charts per group; ids go up in steps of 3."""
    (root / "images").mkdir(parents=True)
    coco = {"images": [], "annotations": [], "categories": [{"id": 2, "name": "line"}]}
    for number in range(count):
        identity = 3 * number + 1
        rng = np.random.default_rng(number)
        picture = np.full((*size, 3), 255, np.uint8)
        for line in range(2):
            points = rng.integers(0, size[0], (4, 2))
            cv2.polylines(picture, [points.astype(np.int32)], False, (0, 80 * line, 200), 2)
            coco["annotations"].append(
                {
                    "id": 10 * identity + line,
                    "image_id": identity,
                    "category_id": 2,
                    "polyline": [float(v) for v in points.ravel()],
                }
            )
        cv2.imwrite(str(root / "images" / f"{identity}.png"), picture)
        coco["images"].append(
            {
                "id": identity,
                "file_name": f"{identity}.png",
                "width": size[1],
                "height": size[0],
                "group": f"doc-{number // 2}",
            }
        )
    (root / "a.json").write_text(json.dumps(coco))


@pytest.fixture(scope="module")
def charts(tmp_path_factory):
    """Input that no test changes."""
    root = tmp_path_factory.mktemp("charts")
    write_charts(root)
    return root


@pytest.fixture
def own_charts(tmp_path):
    """Input that the test may damage."""
    write_charts(tmp_path / "in")
    return tmp_path / "in"


def job_for(root, out, **values):
    settings = {"val_fraction": 0.3, "images_per_part": 6, **values}
    return ShardJob(annotations=root / "a.json", images=root / "images", out=out, **settings)


def visible(out):
    """Every file of a folder that is not hidden, with its hash; the manifest and the rejects too."""
    return {
        str(path.relative_to(out)): sha256_of(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(out).parts)
    }


def hidden(out):
    return [path for path in out.rglob(".*") if path.is_file()] if out.exists() else []


@pytest.fixture(scope="module")
def reference(charts, tmp_path_factory):
    """What an undisturbed job leaves."""
    out = tmp_path_factory.mktemp("reference") / "out"
    make_shards_serial(job_for(charts, out))
    return visible(out)


def stop_after(parts):
    def watch(state):
        if state.done == parts:
            raise KeyboardInterrupt

    return watch


def test_manifest_counts_what_is_there(charts, tmp_path):
    states = []
    manifest = make_shards_serial(job_for(charts, tmp_path / "out"), states.append)
    assert (manifest.samples, manifest.lines, manifest.rejects, manifest.made) == (20, 40, 0, 4)
    assert manifest.source.images == 20
    assert manifest.source.sha256 == sha256_of(charts / "a.json")
    assert manifest.categories == {2: "line"}
    assert [state.done for state in states] == [0, 1, 2, 3, 4]
    assert states[-1] == ShardProgress(done=4, parts=4, samples=20, rejects=0)
    shards = ShardSet(tmp_path / "out")
    shards.verify()
    assert sorted(shards.ids.tolist()) == [3 * n + 1 for n in range(20)]
    for file in manifest.files:
        assert file.path == f"{file.split}/{Path(file.path).name}"
        assert file.first_id <= file.last_id
    for name, counts in manifest.splits.items():
        split = ShardSet(tmp_path / "out", name)
        assert (counts.samples, counts.files) == (len(split), len(split.files))
        assert counts.lines == sum(len(sample.instances) for sample in split)
    assert not (tmp_path / "out/.partial").exists()
    sample = next(iter(shards))
    assert sample.image == (charts / "images" / sample.name).read_bytes()


def test_no_group_on_two_sides(charts, tmp_path):
    make_shards_serial(job_for(charts, tmp_path / "out", test_fraction=0.3))
    sides = {}
    for split in ("train", "val", "test"):
        for sample in ShardSet(tmp_path / "out", split):
            sides.setdefault(sample.group, set()).add(split)
    assert len(sides) == 10
    assert all(len(side) == 1 for side in sides.values())
    assert set().union(*sides.values()) == {"train", "val", "test"}


def test_split_does_not_depend_on_the_size_of_parts(charts, tmp_path):
    ids = []
    for size in (1, 7, 1000):
        make_shards_serial(job_for(charts, tmp_path / str(size), images_per_part=size))
        ids.append(ShardSet(tmp_path / str(size), "val").ids.tolist())
    assert ids[0] == ids[1] == ids[2]


def test_one_split_for_everything(charts, tmp_path):
    manifest = make_shards_serial(job_for(charts, tmp_path / "out", split="exam"))
    assert {name: counts.samples for name, counts in manifest.splits.items()} == {"exam": 20}
    assert len(ShardSet(tmp_path / "out", "exam")) == 20


def test_second_run_has_nothing_to_do(charts, tmp_path):
    out = tmp_path / "out"
    make_shards_serial(job_for(charts, out))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = make_shards_serial(job_for(charts, out))
    assert again.made == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("change", [{"seed": 9}, {"images_per_part": 5}, {"category": 2}, {"drawn": True}])
def test_other_settings_are_refused_until_overwrite(charts, tmp_path, change, reference):
    out = tmp_path / "out"
    make_shards_serial(job_for(charts, out))
    with pytest.raises(UserError, match="--overwrite"):
        make_shards_serial(job_for(charts, out, **change))
    assert visible(out) == reference
    make_shards_serial(job_for(charts, out, **change, overwrite=True))
    fresh = tmp_path / "fresh"
    make_shards_serial(job_for(charts, fresh, **change))
    assert visible(out) == visible(fresh) != reference


@pytest.mark.parametrize("damage", ["truncated", "category"])
def test_unusable_new_input_does_not_cost_the_finished_shards(own_charts, tmp_path, damage, reference):
    out = tmp_path / "out"
    make_shards_serial(job_for(own_charts, out))
    before = visible(out)
    if damage == "truncated":
        whole = (own_charts / "a.json").read_text()
        (own_charts / "a.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(UserError):
        make_shards_serial(job_for(own_charts, out, overwrite=True, category="lime" if damage == "category" else None))
    assert visible(out) == before == reference
    assert len(ShardSet(out)) == CHARTS


def test_other_input_is_refused_and_its_unfinished_work_dropped(own_charts, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make_shards_serial(job_for(own_charts, out), stop_after(2))
    coco = json.loads((own_charts / "a.json").read_text())
    for image in coco["images"]:
        image["group"] = "one"
    (own_charts / "a.json").write_text(json.dumps(coco))
    manifest = make_shards_serial(job_for(own_charts, out))
    assert manifest.made == 4
    make_shards_serial(job_for(own_charts, tmp_path / "fresh"))
    assert visible(out) == visible(tmp_path / "fresh")
    (own_charts / "a.json").write_text(json.dumps({**coco, "info": {}}))
    with pytest.raises(UserError, match="other input"):
        make_shards_serial(job_for(own_charts, out))


def test_lost_shard_of_a_finished_folder(charts, tmp_path, reference):
    out = tmp_path / "out"
    manifest = make_shards_serial(job_for(charts, out))
    (out / manifest.files[1].path).unlink()
    with pytest.raises(UserError, match="has lost 1 of its shards"):
        make_shards_serial(job_for(charts, out))
    make_shards_serial(job_for(charts, out, overwrite=True))
    assert visible(out) == reference


def test_interrupted_job_does_only_what_is_missing(charts, tmp_path, reference, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make_shards_serial(job_for(charts, out), stop_after(3))
    with pytest.raises(UserError, match="has not finished"):
        ShardSet(out)
    monkeypatch.setattr(coco_job, "partition_coco", None)  # the cut is used again, too
    manifest = make_shards_serial(job_for(charts, out))
    assert manifest.made == 1
    assert visible(out) == reference
    assert hidden(out) == []


def test_damaged_shard_of_an_interrupted_job_is_made_again(charts, tmp_path, reference):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make_shards_serial(job_for(charts, out), stop_after(3))
    next(out.glob("*/shard-*.parquet")).write_bytes(b"PAR1")
    assert make_shards_serial(job_for(charts, out)).made == 2
    assert visible(out) == reference


class FullDisk:
    """Counts the writes that go through `linegroup.files`; from the k-th on the disk is full."""

    def __init__(self, monkeypatch, full_from=None):
        self.writes, self.full_from = 0, full_from
        original = os.fdopen

        def fdopen(*args, **kwargs):
            stream = original(*args, **kwargs)
            write = stream.write
            return _Counting(stream, lambda content: (self.count(), write(content))[1])

        monkeypatch.setattr(atomic_files.os, "fdopen", fdopen)

    def count(self):
        self.writes += 1
        if self.full_from is not None and self.writes >= self.full_from:
            raise OSError(errno.ENOSPC, "No space left on device")


class _Counting:
    def __init__(self, stream, write):
        self._stream, self.write = stream, write

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self._stream.close()


@pytest.mark.long
def test_disk_full_at_every_write(charts, tmp_path, reference):
    with pytest.MonkeyPatch.context() as patch:
        disk = FullDisk(patch)
        make_shards_serial(job_for(charts, tmp_path / "count"))
    assert disk.writes > 30
    # The last writes are single ones (rejects, manifest); within shards every third is enough.
    for full_from in [*range(1, disk.writes - 6, 3), *range(disk.writes - 6, disk.writes + 1)]:
        out = tmp_path / str(full_from)
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, full_from)
            with pytest.raises(UserError, match=r"full: No space left on device.*run the same command again"):
                make_shards_serial(job_for(charts, out))
        left = visible(out)
        assert MANIFEST not in left
        assert left.items() <= reference.items()
        assert not [path for path in hidden(out) if path.name.endswith(".tmp")]
        make_shards_serial(job_for(charts, out))
        assert visible(out) == reference


def run_script(*arguments, limit=None):
    script = Path(__file__).parents[2] / "jobs" / "make_shards.py"
    cap = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)], capture_output=True, text=True, preexec_fn=cap, check=False
    )


def script_arguments(root, out):
    return ["--annotations", root / "a.json", "--images", root / "images", "--out", out, "--serial"]


@pytest.mark.long
def test_file_size_limit_of_the_system(tmp_path):
    """A real refusal by the kernel in the middle of a shard; the next run finishes."""
    write_charts(tmp_path / "in", 8, size=(200, 300))
    for path in (tmp_path / "in/images").iterdir():
        noise = np.random.default_rng(int(path.stem)).integers(0, 255, (200, 300, 3), np.uint8)
        cv2.imwrite(str(path), noise)
    arguments = script_arguments(tmp_path / "in", tmp_path / "out")
    refused = run_script(*arguments, limit=300_000)
    assert refused.returncode == 2, refused.stderr
    assert "is full: File too large" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert visible(tmp_path / "out") == {}
    assert not [path for path in hidden(tmp_path / "out") if path.suffix == ".tmp"]
    finished = run_script(*arguments)
    assert finished.returncode == 0, finished.stderr
    run_script(*script_arguments(tmp_path / "in", tmp_path / "fresh"))
    assert visible(tmp_path / "out") == visible(tmp_path / "fresh")


def test_killed_process_goes_on(tmp_path):
    write_charts(tmp_path / "in", 300)
    out = tmp_path / "out"
    arguments = [*script_arguments(tmp_path / "in", out), "--images-per-part", "3"]
    script = Path(__file__).parents[2] / "jobs" / "make_shards.py"
    process = subprocess.Popen([sys.executable, script, *map(str, arguments)], stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob(".partial/*/done/*.json"))) < 10:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(list(out.glob(".partial/*/done/*.json")))
    assert 10 <= done < 100
    finished = run_script(*arguments)
    assert json.loads(finished.stdout.splitlines()[-1])["parts_made"] == 100 - done
    fresh = [*script_arguments(tmp_path / "in", tmp_path / "fresh"), "--images-per-part", "3"]
    assert run_script(*fresh).returncode == 0
    assert visible(out) == visible(tmp_path / "fresh")
    assert hidden(out) == []


def test_second_job_in_the_same_folder_is_refused(charts, tmp_path):
    out = tmp_path / "out"

    def start_another(state):
        if state.done == 1:
            with pytest.raises(UserError, match="Another job is writing"):
                make_shards_serial(job_for(charts, out))

    assert make_shards_serial(job_for(charts, out), start_another).made == 4


def damage(root):
    (root / "images/4.png").write_bytes(b"not a picture")
    (root / "images/7.png").unlink()


def test_rejects_are_counted_and_named(own_charts, tmp_path):
    damage(own_charts)
    manifest = make_shards_serial(job_for(own_charts, tmp_path / "out"))
    assert (manifest.samples, manifest.rejects) == (18, 2)
    lines = [json.loads(line) for line in (tmp_path / "out" / REJECTS).read_text().splitlines()]
    assert [line["image_id"] for line in lines] == [4, 7]
    assert all(line["reason"] for line in lines)


def test_strict_fails_after_naming_the_rejects(own_charts, tmp_path, reference):
    good = {number: (own_charts / f"images/{number}.png").read_bytes() for number in (4, 7)}
    damage(own_charts)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"2 records were rejected.*'4\.png'.*rejects\.jsonl"):
        make_shards_serial(job_for(own_charts, out, strict=True))
    assert not (out / MANIFEST).exists()
    assert len((out / REJECTS).read_text().splitlines()) == 2
    for number, content in good.items():
        (own_charts / f"images/{number}.png").write_bytes(content)
    # Only the part with the mended pictures is done again.
    assert make_shards_serial(job_for(own_charts, out, strict=True)).made == 1
    assert visible(out) == reference


def test_strict_holds_for_a_finished_folder(own_charts, tmp_path):
    damage(own_charts)
    make_shards_serial(job_for(own_charts, tmp_path / "out"))
    with pytest.raises(UserError, match="2 records were rejected"):
        make_shards_serial(job_for(own_charts, tmp_path / "out", strict=True))


def test_sample_that_does_not_fit_the_schema_is_a_reject(own_charts, tmp_path):
    coco = json.loads((own_charts / "a.json").read_text())
    coco["images"][2]["group"] = "\ud800"
    (own_charts / "a.json").write_text(json.dumps(coco))
    manifest = make_shards_serial(job_for(own_charts, tmp_path / "out"))
    assert (manifest.samples, manifest.rejects) == (19, 1)
    assert json.loads((tmp_path / "out" / REJECTS).read_text())["image_id"] == 7


def test_no_usable_picture(own_charts, tmp_path):
    for path in (own_charts / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no usable picture"):
        make_shards_serial(job_for(own_charts, tmp_path / "out"))


def test_empty_split_is_said(charts, tmp_path, caplog):
    manifest = make_shards_serial(job_for(charts, tmp_path / "out", val_fraction=1e-9))
    assert manifest.splits["val"].samples == 0
    assert len(ShardSet(tmp_path / "out", "val")) == 0
    assert "val is empty" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": "nowhere.json"}, "no annotation file .*nowhere.json"),
        ({"images": "nowhere"}, "no image folder .*nowhere"),
        ({"val_fraction": 1.5}, "val_fraction: .* less than or equal to 1"),
        ({"val_fraction": 0.7, "test_fraction": 0.6}, "together exceed 1"),
        ({"split": "../up"}, "a split is named with letters"),
        ({"dialect": "voc"}, "dialect: .*'coco' or 'bbox_polyline'"),
        ({"images_per_prt": 3}, "Did you mean 'images_per_part'"),
        ({"images_per_part": 0}, "images_per_part"),
        ({"category": "no such"}, "no such"),
    ],
)
def test_user_mistakes(charts, tmp_path, change, message):
    values = {"annotations": charts / "a.json", "images": charts / "images", "out": tmp_path / "out", **change}
    with pytest.raises(UserError, match=message):
        make_shards_serial(ShardJob(**values))


@pytest.mark.parametrize("case", ["category", "no COCO"])
def test_a_job_that_has_done_nothing_leaves_nothing(charts, tmp_path, case):
    annotations = tmp_path / "b.json"
    annotations.write_text((charts / "a.json").read_text() if case == "category" else '{"images": 1}')
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "above" / "out", tmp_path / "there"):
        with pytest.raises(UserError, match="no such" if case == "category" else "images"):
            make_shards_serial(ShardJob(annotations=annotations, images=charts / "images", out=out, category="no such"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "there"]
    assert not list((tmp_path / "there").iterdir())


def test_a_job_without_usable_pictures_leaves_the_reasons_and_can_be_run_again(charts, tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    with pytest.raises(UserError, match="holds no usable picture"):
        make_shards_serial(job_for(charts, out).model_copy(update={"images": tmp_path / "empty"}))
    assert [path.name for path in out.iterdir()] == ["rejects.jsonl"]
    assert make_shards_serial(job_for(charts, out)).samples == 20


def test_foreign_folder_is_left_alone(charts, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="holds other files"):
            make_shards_serial(job_for(charts, tmp_path, overwrite=overwrite))
    with pytest.raises(UserError, match="is a file"):
        make_shards_serial(job_for(charts, tmp_path / "thesis.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_drawn_columns(charts, tmp_path):
    make_shards_serial(job_for(charts, tmp_path / "out", drawn=True))
    shards = ShardSet(tmp_path / "out")
    labels, coverage = shards.read_drawn(0)
    assert labels.shape == shards.read(0).size
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.array_equal(labels > 0, coverage > 0)


def test_drawn_columns_hold_every_line_of_the_row(charts, tmp_path):
    first, other = (tmp_path / name for name in ("first", "other"))
    make_shards_serial(job_for(charts, first, drawn=True))
    make_shards_serial(job_for(charts, other, drawn=True, data={"category": "axis"}))
    assert visible(first) == visible(other)


def test_the_command_line_has_the_default_shares_of_the_job(charts, tmp_path):
    arguments = ["--annotations", str(charts / "a.json"), "--images", str(charts / "images")]
    done = CliRunner().invoke(app, ["shard", *arguments, "--out", str(tmp_path / "out"), "--serial"])
    assert done.exit_code == 0, done.output
    job = ShardJob(annotations=charts / "a.json", images=charts / "images", out=tmp_path / "out")
    assert ShardSet(tmp_path / "out").manifest.settings["val_fraction"] == job.val_fraction == 0.2


def test_script_ends_with_one_line_of_json(charts, tmp_path):
    arguments = script_arguments(charts, tmp_path / "out")
    first, second = run_script(*arguments), run_script(*arguments)
    summary = json.loads(first.stdout.splitlines()[-1])
    assert (first.returncode, summary["samples"], summary["parts_made"], summary["rejects"]) == (0, 20, 1, 0)
    assert (second.returncode, json.loads(second.stdout.splitlines()[-1])["parts_made"]) == (0, 0)
    assert "1/1 parts, 20 charts, 0 rejects" in first.stderr
    assert "Nothing to do" in second.stderr
    mistake = run_script("--annotations", charts / "b.json", "--images", charts, "--out", tmp_path / "x", "--serial")
    assert mistake.returncode == 2
    assert mistake.stderr.splitlines() == [f"There is no annotation file {charts / 'b.json'}."]


def test_recipe_is_valid():
    recipe = Path(__file__).parents[2] / "jobs/recipes/shards.yaml"
    assert coco_job.load_job(recipe, {}).images_per_part > 0


def test_recipe_and_flags(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("annotations: a.json\nimages: i\nout: o\ncategory: 2\nseed: 4\n")
    job = coco_job.load_job(recipe, {"seed": 5, "category": None})
    assert (job.seed, job.category, job.out) == (5, "2", Path("o"))
    with pytest.raises(UserError, match="out"):
        coco_job.load_job(None, {"annotations": "a", "images": "b"})
    recipe.write_text("- 1")
    with pytest.raises(UserError, match="mapping"):
        coco_job.load_job(recipe, {})


def test_ray_writes_the_same_bytes(ray_session, charts, tmp_path, reference):
    states = []
    manifest = make_shards(job_for(charts, tmp_path / "out"), states.append)
    assert manifest.made == 4
    assert visible(tmp_path / "out") == reference
    assert states[-1] == ShardProgress(done=4, parts=4, samples=20, rejects=0)


def test_ray_job_goes_on_after_an_interruption(ray_session, charts, tmp_path, reference):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        make_shards(job_for(charts, out, images_per_part=1), stop_after(2))
    with pytest.raises(KeyboardInterrupt):
        make_shards(job_for(charts, out), stop_after(2))
    manifest = make_shards(job_for(charts, out))
    assert 0 <= manifest.made <= 2
    assert visible(out) == reference


def test_ray_says_the_users_mistakes_plainly(ray_session, charts, own_charts, tmp_path):
    with pytest.raises(UserError, match="no such") as caught:
        make_shards(job_for(charts, tmp_path / "a", category="no such"))
    assert "Traceback" not in str(caught.value)
    (own_charts / "a.json").write_text("{")
    with pytest.raises(UserError) as caught:
        make_shards(job_for(own_charts, tmp_path / "b"))
    assert "Traceback" not in str(caught.value)
    damage(own_charts)
    write_charts(tmp_path / "again")
    damage(tmp_path / "again")
    with pytest.raises(UserError, match="2 records were rejected"):
        make_shards(job_for(tmp_path / "again", tmp_path / "c", strict=True))


def test_ray_is_not_started_when_there_is_nothing_to_do(charts, tmp_path, monkeypatch):
    make_shards_serial(job_for(charts, tmp_path / "out"))
    monkeypatch.setattr(job_module, "start_ray", None)
    assert make_shards(job_for(charts, tmp_path / "out")).made == 0


def test_what_was_rejected_is_looked_at_again(charts, tmp_path):
    """Pictures that were not there, or another folder: an unfinished job does not keep its rejects."""
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    with pytest.raises(UserError, match="no usable picture") as refused:
        make_shards_serial(ShardJob(annotations=charts / "a.json", images=nothing, out=tmp_path / "out"))
    assert f"looked for in {nothing} (--images)" in str(refused.value)
    assert ".png': No such file" in str(refused.value)
    assert "{" not in str(refused.value)
    manifest = make_shards_serial(job_for(charts, tmp_path / "out"))
    assert (manifest.samples, manifest.rejects) == (CHARTS, 0)
