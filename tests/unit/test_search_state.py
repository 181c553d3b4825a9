"""Where a search stands: what Tune can go on with, and which training has which folder. No Ray is started."""

import json
import pickle
from pathlib import Path

import pytest

from linegroup.distributed.search_state import claim_folder, find_state, forget

VALUES = {"loss.delta_d": 1.5, "model.emb_dim": 4}


def session(out: Path, name: str, *trials: str) -> dict[str, Path]:
    """The files of a session of Tune, as it writes them."""
    place = out / "ray"
    place.mkdir(parents=True, exist_ok=True)
    files = {
        "experiment": place / f"experiment_state-{name}.json",
        "search": place / f"search_gen_state-{name}.json",
        "searcher": place / f"searcher-state-{name}.pkl",
        "tuner": place / "tuner.pkl",
    }
    data = [[json.dumps({"trial_id": trial}), "{}"] for trial in trials]
    files["experiment"].write_text(json.dumps({"trial_data": data, "runner_data": {}}))
    for key in ("search", "searcher", "tuner"):
        files[key].write_bytes(pickle.dumps({"counter": len(trials)}))
    return files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def test_a_whole_session_is_gone_on_with(tmp_path):
    files = session(tmp_path, "2026-01-01_10-00-00", "a", "b")
    assert find_state(tmp_path)
    assert all(path.exists() for path in files.values())


@pytest.mark.parametrize("broken", ["experiment", "search", "searcher"])
@pytest.mark.parametrize("how", [cut, Path.unlink])
def test_the_session_before_is_gone_on_with(tmp_path, broken, how, caplog):
    earlier = session(tmp_path, "2026-01-01_10-00-00", "a")
    later = session(tmp_path, "2026-01-01_11-00-00", "a", "b")
    how(later[broken])
    assert find_state(tmp_path)
    assert all(path.exists() for path in earlier.values())
    assert not any(later[key].exists() for key in ("experiment", "search", "searcher"))
    assert "11-00-00 cannot be read" in caplog.text


@pytest.mark.parametrize("broken", ["experiment", "search", "searcher", "tuner"])
@pytest.mark.parametrize("how", [cut, Path.unlink])
def test_without_a_whole_session_it_begins_anew(tmp_path, broken, how):
    how(session(tmp_path, "2026-01-01_10-00-00", "a")[broken])
    assert not find_state(tmp_path)
    assert not (tmp_path / "ray").exists()


def test_a_session_without_trainings_and_one_that_never_wrote(tmp_path):
    session(tmp_path, "2026-01-01_10-00-00")
    assert not find_state(tmp_path)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "tuner.pkl").write_bytes(pickle.dumps({}))
    assert not find_state(tmp_path)


def test_a_training_finds_its_folder_again(tmp_path):
    """By what it tries, where Tune has forgotten it; two that try the same never share one."""
    trials = tmp_path / "trials"
    first = claim_folder(trials, VALUES, "a")
    assert claim_folder(trials, dict(reversed(VALUES.items())), "a") == first
    second = claim_folder(trials, VALUES, "b")
    other = claim_folder(trials, {**VALUES, "model.emb_dim": 2}, "c")
    assert len({first, second, other}) == 3
    forget(tmp_path)
    assert claim_folder(trials, VALUES, "d") == first
    assert claim_folder(trials, VALUES, "e") == second


def test_a_training_that_tune_did_not_note_is_free_again(tmp_path):
    """Killed after it had begun, before the next note."""
    trials = tmp_path / "trials"
    noted, lost = claim_folder(trials, VALUES, "a"), claim_folder(trials, {}, "b")
    session(tmp_path, "2026-01-01_10-00-00", "a")
    assert find_state(tmp_path)
    assert claim_folder(trials, {}, "c") == lost
    assert claim_folder(trials, VALUES, "d") != noted
