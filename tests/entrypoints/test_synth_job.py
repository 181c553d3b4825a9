"""Generated charts into shards by Ray: the bytes of one process, and a job that goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from linegroup.distributed.data import make_shards, make_shards_serial
from linegroup.distributed.synth_job import SynthJob, load_synth_job
from linegroup.errors import UserError
from linegroup.shards import ShardSet

ROOT = Path(__file__).parents[2]
SMALL = "synth:charts?seed=5&width_usual=[200,260]&usual=1&lines={2: 1}"


def job(out: Path, **settings) -> SynthJob:
    return SynthJob(**{"stream": SMALL, "count": 12, "images_per_part": 4, "out": out, **settings})


@pytest.mark.ray
def test_ray_writes_the_bytes_of_one_process(tmp_path, ray_session):
    one = make_shards_serial(job(tmp_path / "one", val_fraction=0.3))
    many = make_shards(job(tmp_path / "many", val_fraction=0.3))
    assert one.files == many.files
    assert one.samples == 12
    assert one.splits["val"].samples > 0


def test_a_job_that_was_stopped_goes_on(tmp_path):
    class Stop(Exception):
        pass

    def stop_after_one(state):
        if state.done == 1:
            raise Stop

    with pytest.raises(Stop):
        make_shards_serial(job(tmp_path / "out"), stop_after_one)
    manifest = make_shards_serial(job(tmp_path / "out"))
    assert manifest.made == 2
    assert manifest.files == make_shards_serial(job(tmp_path / "again")).files
    assert make_shards_serial(job(tmp_path / "out")).made == 0
    with pytest.raises(UserError, match="other input"):
        make_shards_serial(job(tmp_path / "out", count=13))


def test_chosen_numbers(tmp_path):
    make_shards_serial(job(tmp_path / "out", numbers=(3, 8, 11, 40, 41), split="val"))
    assert ShardSet(tmp_path / "out", "val").ids.tolist() == [3, 8, 11, 40, 41]
    with pytest.raises(UserError, match="ascend"):
        job(tmp_path / "bad", numbers=(3, 3))


@pytest.mark.long
def test_the_recipe_and_the_script(tmp_path):
    assert load_synth_job(ROOT / "jobs" / "recipes" / "synth.yaml", {"out": tmp_path}).count == 20000
    command = [sys.executable, "jobs/make_synth.py", "--serial", "--out", str(tmp_path / "out"), "--stream", SMALL]
    done = subprocess.run([*command, "--count", "3"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["samples"] == 3
    wrong = subprocess.run([*command[:-1], "synth:nothing"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "synth:charts" in wrong.stderr


def test_a_source_that_ends_is_taken_whole_and_never_beyond():
    whole = SynthJob(stream="synth:validation", out="x")
    assert whole.cut_numbers() == range(300)
    with pytest.raises(UserError, match="300"):
        SynthJob(stream="synth:validation", out="x", first=290, count=20).check_input()
    assert len(SynthJob(stream="synth:charts", out="x").cut_numbers()) == 1000
