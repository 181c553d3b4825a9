"""Writers that die at any of their calls to the disk: what was there stays, and nothing is left lying about."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from linegroup.config import Config, GroupingConfig, load_config
from linegroup.errors import UserError
from linegroup.files import left_beside, remove_temporaries, write_text
from linegroup.model import LineModel
from linegroup.testing import random_sample
from linegroup.training.artifact import copy_artifact, load_artifact, recover, save_artifact
from linegroup.training.checkpoint import load_checkpoint
from linegroup.training.loop import train_local
from linegroup.training.reporting import read_metrics
from linegroup.tuning.grouping import tune_grouping
from linegroup.tuning.settings import DecoderSettings

CALLS = ("fsync", "rename", "replace", "link", "unlink", "rmdir", "chmod")
CONFIG = load_config(
    None,
    [
        *("model.width=4", "model.depth=1", "model.emb_dim=2", "grouping.min_samples=5", "augment.crop=[24, 32]"),
        *("training.batch_size=2", "training.epochs=3", "training.pictures=1", "training.device=cpu"),
        "tracking.enabled=false",
    ],
)


class Dead(BaseException):
    pass


class Dying:
    """Counts the calls that change the disk; dies before the one numbered `at`, and does nothing any more."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.calls = 0
        self.dead = False
        for name in CALLS:
            patch.setattr(os, name, self._dying(getattr(os, name), at))

    def _dying(self, honest, at):
        def call(*arguments, **options):
            self.calls += 1
            self.dead = self.dead or self.calls == at
            if self.dead:
                raise Dead
            return honest(*arguments, **options)

        return call


@contextlib.contextmanager
def full(at: int) -> Iterator[list[int]]:
    """A disk that is full from a flush on; files can still be removed. Gives the flushes so far."""
    flushes: list[int] = []
    honest = os.fsync

    def fail(descriptor):
        flushes.append(descriptor)
        if len(flushes) >= at:
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield flushes


def die(work, at: int) -> bool:
    """Whether `work` died."""
    with pytest.MonkeyPatch.context() as patch:
        dying = Dying(patch, at)
        try:
            work()
        except Dead:
            return True
        assert not dying.dead
    return False


def save(folder: Path, seed: int) -> str:
    torch.manual_seed(seed)
    return save_artifact(folder, LineModel(CONFIG.model, CONFIG.loss), CONFIG, GroupingConfig(), {}).version


def hidden(folder: Path) -> list[Path]:
    return [
        path for path in folder.rglob("*") if path.name != ".lock" and (path.name[0] == "." or path.suffix == ".tmp")
    ]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_shard_folder) -> Path:
    samples = [random_sample(i, (30 + i, 40), 2) for i in range(1, 9)]
    return make_shard_folder(tmp_path_factory.mktemp("dying") / "shards", {"train": samples[:5], "val": samples[5:]})


@pytest.fixture(scope="module")
def versions(tmp_path_factory) -> list[str]:
    return [save(tmp_path_factory.mktemp("versions") / "artifact", seed) for seed in (0, 1)]


def test_an_artifact_survives_its_killed_writer(tmp_path, versions):
    """Killed at every single call, while it takes the place of another one."""
    seen = set()
    lost = at = 0
    died = True
    while died:
        at += 1
        place = tmp_path / str(at)
        save(place / "artifact", 0)
        died = die(lambda place=place: save(place / "artifact", 1), at)
        lost += not (place / "artifact").exists()
        if lost and not (place / "artifact").exists():
            with pytest.raises(UserError, match=r"\.artifact\..*\.old.*again"):
                load_artifact(place / "artifact")
        recover(place / "artifact")
        seen.add(load_artifact(place / "artifact").version)
        assert hidden(place) == []
    assert at > 15
    assert lost == 1, "between the two renames"
    assert seen == set(versions)


def test_the_next_save_clears_away_too(tmp_path, versions):
    for at in range(1, 40):
        if not die(lambda: save(tmp_path / "artifact", 1), at):
            break
    assert hidden(tmp_path) == []
    assert at > 15
    die(lambda: save(tmp_path / "artifact", 0), 12)
    assert hidden(tmp_path)
    assert save(tmp_path / "artifact", 0) == versions[0]
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_the_one_that_stepped_aside_last_comes_back(tmp_path, versions):
    for seed, name in enumerate(("aaaaaaaa", "bbbbbbbb")):
        save(tmp_path / "made", seed)
        (tmp_path / "made").rename(tmp_path / f".artifact.{name}.old")
    (tmp_path / ".artifact.cccccccc.old").mkdir()
    recover(tmp_path / "artifact")
    assert load_artifact(tmp_path / "artifact").version == versions[1]
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_what_cannot_be_read_is_kept(tmp_path):
    """It may be of a newer version."""
    save(tmp_path / "made", 0)
    (tmp_path / "made" / "config.json").write_text('{"not_yet": 1}')
    (tmp_path / "made").rename(tmp_path / ".artifact.aaaaaaaa.old")
    recover(tmp_path / "artifact")
    assert [path.name for path in tmp_path.iterdir()] == [".artifact.aaaaaaaa.old"]


FOREIGN = (
    *(".artifact.tmp", ".artifact.backup.tmp", ".artifact.AAAAAAAA.tmp", ".artifact.aaaaaaaa.tmp.mine"),
    *("artifact.aaaaaaaa.tmp", ".other.aaaaaaaa.tmp", ".artifactx.aaaaaaaa.old", ".artifact.old", "mine.tmp"),
)


def test_foreign_files_stay(tmp_path):
    for name in FOREIGN:
        (tmp_path / name).mkdir()
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / name).touch()
    # A file where a folder of ours would be, and the other way round.
    (tmp_path / ".artifact.bbbbbbbb.tmp").touch()
    (tmp_path / "files" / ".artifact.bbbbbbbb.tmp").mkdir()
    before = sorted(tmp_path.rglob("*"))
    save(tmp_path / "artifact", 0)
    recover(tmp_path / "artifact")
    remove_temporaries(tmp_path / "files", "artifact")
    remove_temporaries(tmp_path / "nowhere", "*")
    assert [
        path for path in sorted(tmp_path.rglob("*")) if tmp_path / "artifact" not in (path, *path.parents)
    ] == before
    (tmp_path / "files" / ".a.b-1.json.aaaaaaa_.tmp").touch()
    assert list(left_beside(tmp_path / "files" / "a.b-*.json"))
    remove_temporaries(tmp_path / "files", "a.b-*.json")
    assert sorted(p.name for p in (tmp_path / "files").iterdir()) == sorted([*FOREIGN, ".artifact.bbbbbbbb.tmp"])


def test_files_are_old_or_new(tmp_path):
    at, died = 0, True
    while died:
        at += 1
        write_text(tmp_path / "a.json", "old")
        died = die(lambda: write_text(tmp_path / "a.json", "new"), at)
        assert (tmp_path / "a.json").read_text() in ("old", "new")
        remove_temporaries(tmp_path, "a.json")
        assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (at, (tmp_path / "a.json").read_text()) == (5, "new")


def test_a_copy_is_whole(tmp_path, versions):
    save(tmp_path / "source", 0)
    at, died = 0, True
    while died:
        at += 1
        died = die(lambda: copy_artifact(tmp_path / "source", tmp_path / "copy"), at)
        if (tmp_path / "copy").exists():
            assert load_artifact(tmp_path / "copy").version == versions[0]
        recover(tmp_path / "copy")
        assert hidden(tmp_path) == []
    assert at > 15
    assert load_artifact(tmp_path / "copy").version == versions[0]


def configured(shards: Path, out: Path) -> Config:
    data = CONFIG.data.model_copy(update={"train": str(shards)})
    training = CONFIG.training.model_copy(update={"out": str(out)})
    return CONFIG.model_copy(update={"data": data, "training": training})


def result(out: Path) -> object:
    names = ("final.pt", "best.pt", "last.pt")
    states = [load_checkpoint(out / "checkpoints" / name).model for name in names]
    weights = [{key: value.numpy().tobytes() for key, value in state.items()} for state in states]
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    return weights, read_metrics(out), load_artifact(out / "artifact").version, files


@pytest.mark.long
def test_a_run_survives_deaths_within_its_writes(shards, tmp_path):
    """Dead at many of its calls to the disk, in one folder and in new ones; it ends as if nothing had been."""
    train_local(configured(shards, tmp_path / "undisturbed"))
    expected = result(tmp_path / "undisturbed")
    at, died = 3, True
    while died:
        died = die(lambda at=at: train_local(configured(shards, tmp_path / str(at))), at)
        train_local(configured(shards, tmp_path / str(at)))
        assert result(tmp_path / str(at)) == expected, at
        at += 9
    assert at > 60
    again, at = tmp_path / "again", 7
    while die(lambda: train_local(configured(shards, again)), at):
        at += 5
    assert at > 20
    assert result(again) == expected


def test_a_full_disk_leaves_the_artifact(tmp_path, versions):
    save(tmp_path / "artifact", 0)
    for at in range(1, 12):
        with full(at), pytest.raises(UserError, match=r"artifact: No space left.*run the same command again"):
            save(tmp_path / "artifact", 1)
        # The last flush is that of the renames: by then the new one is there, and whole.
        assert load_artifact(tmp_path / "artifact").version == versions[at == 11]
        assert [path.name for path in tmp_path.iterdir()] == ["artifact"]
    assert save(tmp_path / "artifact", 1) == versions[1]


def test_a_full_disk_and_a_new_artifact(tmp_path):
    with full(5), pytest.raises(UserError, match="No space left"):
        save(tmp_path / "artifact", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_tuning_on_a_full_disk(shards, tmp_path):
    """Whatever write it comes at: no half file, no half model, and the same command does it later."""
    save(tmp_path / "model", 0)
    settings = DecoderSettings(trials=2, charts=0, workers=1)

    def tune(out: Path, maps: str = "maps"):
        return tune_grouping(str(tmp_path / "model"), shards, out, settings, maps=tmp_path / maps)

    with full(10**9) as flushes:
        expected = tune(tmp_path / "undisturbed").artifact.version
    assert len(flushes) > 15
    for at in range(1, len(flushes) + 1):
        out, maps = tmp_path / str(at), f"maps-{at}"
        with (
            full(at),
            pytest.raises(
                (UserError, OSError), match=rf"No space left.*/{at}|{at}/.*No space left|No space left.*{maps}"
            ),
        ):
            tune(out, maps)
        assert hidden(tmp_path) == []
        if (out / "artifact").exists():
            assert load_artifact(out / "artifact").version == expected
        if at % 4 == 0:
            assert tune(out, maps).artifact.version == expected
