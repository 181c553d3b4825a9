import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ray.train import Checkpoint as Stored

from linegroup.config import load_config
from linegroup.distributed.stored import fetch, local_step, newest_stored, open_stored, run_name
from linegroup.distributed.train import _look_for_stored
from linegroup.errors import UserError
from linegroup.training.checkpoint import BEST, LAST, PREVIOUS, Checkpoint, load_checkpoint, save_checkpoint
from linegroup.training.runtime import Runtime


def state(step: int) -> Checkpoint:
    return Checkpoint(step, 0, {}, {"w": torch.full((3,), float(step))}, {}, {}, (0.5, -float(step)), {})


def store(storage: Path, out: Path, number: int, step: int) -> Path:
    """As Ray leaves it; later numbers are newer."""
    folder = storage / run_name(out) / f"checkpoint_{number}"
    save_checkpoint(folder, LAST, state(step))
    save_checkpoint(folder, BEST, state(step))
    os.utime(folder / LAST, (1_000_000 + number,) * 2)
    return folder


class Among(Runtime):
    """One of several processes, of which the others want to go on from other steps."""

    def __init__(self, *others: int) -> None:
        super().__init__("cpu")
        self.others = others

    def extremes(self, value):
        return min(value, *self.others), max(value, *self.others)


def test_the_newest_of_this_run_is_found(tmp_path):
    storage, out = tmp_path / "storage", tmp_path / "out"
    assert newest_stored(str(storage), out) is None
    store(storage, out, 1, 10)
    newest = store(storage, out, 3, 5)
    store(storage, out, 2, 20)
    store(storage, tmp_path / "other", 9, 90)
    (storage / run_name(out)).mkdir()
    (storage / run_name(out) / "checkpoint_7").mkdir(parents=True)
    for place in (str(storage), storage.as_uri()):
        found = newest_stored(place, out)
        assert found == str(newest)
        with open_stored(place, found).as_directory() as folder:
            assert load_checkpoint(Path(folder) / LAST).step == 5
    assert run_name(out) != run_name(out)


def test_a_half_written_one_is_passed_over(tmp_path, caplog):
    storage, out = tmp_path / "storage", tmp_path / "out"
    good = store(storage, out, 1, 10)
    bad = store(storage, out, 2, 20) / LAST
    bad.write_bytes(bad.read_bytes()[:99])
    os.utime(bad, (2_000_000,) * 2)
    assert newest_stored(str(storage), out) == str(good)
    assert "damaged" in caplog.text


def test_a_storage_that_cannot_be_read(tmp_path):
    (tmp_path / "file").touch()
    for storage in ("nonsense://bucket/x", str(tmp_path / "file")):
        with pytest.raises(UserError, match=r"ray\.storage="):
            newest_stored(storage, tmp_path / "out")


@pytest.mark.parametrize(
    ("here", "others", "newer", "expected"),
    [
        (None, (20,), False, 20),  # nobody has one
        (None, (10,), False, 20),  # another machine has one, this has none
        (10, (20,), False, 20),
        (30, (20,), False, 20),  # this one is ahead of what was stored, the others cannot be
        (10, (10,), False, 10),  # a shared disk: its user may have gone back
        (30, (30,), False, 30),
        (10, (20,), True, 20),  # a stale one of a machine that was used before
        (30, (30,), True, 30),
        (30, (20,), True, 20),
    ],
)
def test_all_workers_go_on_from_one_step(tmp_path, here, others, newer, expected):
    stored = store(tmp_path / "storage", tmp_path, 1, 20)
    folder = tmp_path / "checkpoints"
    if here is not None:
        for name in (PREVIOUS, BEST, LAST):
            save_checkpoint(folder, name, state(here))
    fetch(Stored.from_directory(stored), folder, Among(*others), newer=newer)
    assert local_step(folder) == expected
    assert load_checkpoint(folder / BEST).step == expected
    assert not list(folder.glob(".*"))
    (folder / LAST).unlink()
    # A later one of before would be gone on from when the last is damaged.
    assert local_step(folder) in (-1, expected)


def test_no_best_one_of_another_time_stays(tmp_path):
    stored = store(tmp_path / "storage", tmp_path, 1, 20)
    (stored / BEST).unlink()
    folder = tmp_path / "checkpoints"
    save_checkpoint(folder, BEST, state(10))
    fetch(Stored.from_directory(stored), folder, Runtime(), newer=True)
    assert not (folder / BEST).exists()


def test_damaged_ones_here_or_there(tmp_path):
    stored = store(tmp_path / "storage", tmp_path, 1, 20)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / LAST).write_bytes(b"oops")
    fetch(Stored.from_directory(stored), folder, Runtime(), newer=False)
    assert local_step(folder) == 20
    (stored / LAST).write_bytes(b"oops")
    fetch(Stored.from_directory(stored), folder, Runtime(), newer=True)
    assert local_step(folder) == 20


def test_the_same_command_again_after_the_disk_is_gone(tmp_path):
    storage, out = tmp_path / "storage", tmp_path / "out"
    config = load_config(None, [f"training.out={out}", f"ray.storage={storage}", "ray.num_workers=1"])
    assert _look_for_stored(config) is None
    stored = store(storage, out, 1, 20)
    untouched = config.model_copy(update={"training": replace_resume(config, "none")})
    assert _look_for_stored(untouched) is None
    assert local_step(out / "checkpoints") == -1
    assert _look_for_stored(config) == str(stored)
    assert local_step(out / "checkpoints") == 20
    save_checkpoint(out / "checkpoints", LAST, replace(state(25), run_id="x"))
    assert _look_for_stored(config) == str(stored)
    assert local_step(out / "checkpoints") == 25


def replace_resume(config, resume):
    return config.training.model_copy(update={"resume": resume})
