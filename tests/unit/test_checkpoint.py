import errno
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from linegroup.errors import UserError
from linegroup.training.checkpoint import (
    LAST,
    PREVIOUS,
    Checkpoint,
    check_same,
    digest,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)


def state(step: int = 3) -> Checkpoint:
    layer = torch.nn.Conv2d(2, 3, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    return Checkpoint(
        step=step,
        seed=0,
        settings={"model.width": 4, "augment.crop": (8, 9), "data.category": None},
        model=dict(layer.state_dict()),
        optimizer=optimizer.state_dict(),
        scaler={},
        best=(0.5, -1.0),
        metrics={"val_ari": 0.5},
        bad_batches=(2, 1),
        run_id="abc",
    )


def test_round_trip_is_exact(tmp_path):
    saved = state()
    save_checkpoint(tmp_path, LAST, saved)
    found = load_checkpoint(tmp_path / LAST)
    assert digest(vars(found)) == digest(vars(saved))
    assert found.settings == saved.settings
    assert (found.best, found.bad_batches) == (saved.best, saved.bad_batches)


def test_the_one_before_is_kept(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, LAST, state(step))
    assert load_checkpoint(tmp_path / LAST).step == 3
    assert load_checkpoint(tmp_path / PREVIOUS).step == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [PREVIOUS, LAST]


def test_a_save_that_was_killed_after_its_link(tmp_path):
    save_checkpoint(tmp_path, LAST, state(1))
    os.link(tmp_path / LAST, tmp_path / PREVIOUS)
    save_checkpoint(tmp_path, LAST, state(2))
    assert [load_checkpoint(tmp_path / name).step for name in (LAST, PREVIOUS)] == [2, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [PREVIOUS, LAST]


def flip(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 0x10
    path.write_bytes(content)


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("oops"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_falls_back_and_says_so(tmp_path, damage, caplog):
    save_checkpoint(tmp_path, LAST, state(1))
    save_checkpoint(tmp_path, LAST, state(2))
    DAMAGES[damage](tmp_path / LAST)
    with caplog.at_level(logging.WARNING):
        found = find_checkpoint(tmp_path)
    assert found is not None
    assert found[0].step == 1
    assert found[1].name == PREVIOUS
    assert "damaged" in caplog.text
    assert "step 1" in caplog.text
    DAMAGES[damage](tmp_path / PREVIOUS)
    with pytest.raises(UserError, match="No good checkpoint"):
        find_checkpoint(tmp_path)


def test_flipped_bit_of_a_weight_is_noticed(tmp_path):
    saved = state()
    save_checkpoint(tmp_path, LAST, saved)
    content = (tmp_path / LAST).read_bytes()
    weight = saved.model["weight"].numpy().tobytes()
    at = content.index(weight[:32])
    (tmp_path / LAST).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path / LAST)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_flipped_bits_never_change_a_checkpoint_unseen(tmp_path, share):
    saved = state()
    save_checkpoint(tmp_path, LAST, saved)
    flip(tmp_path / LAST, share)
    try:
        found = load_checkpoint(tmp_path / LAST)
    except UserError:
        return
    assert digest(vars(found)) == digest(vars(saved))


def test_any_flipped_bit_falls_back_to_the_one_before(tmp_path):
    """torch raises IndexError, TypeError, AttributeError, AssertionError and more, depending on the place."""
    save_checkpoint(tmp_path, LAST, state(1))
    save_checkpoint(tmp_path, LAST, state(2))
    content = (tmp_path / LAST).read_bytes()
    saved = digest(vars(load_checkpoint(tmp_path / LAST)))
    random = np.random.default_rng(0)
    damaged = 0
    for place, bit in zip(random.integers(len(content), size=600), random.integers(8, size=600), strict=True):
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        (tmp_path / LAST).write_bytes(flipped)
        found = find_checkpoint(tmp_path)
        assert found is not None
        damaged += found[0].step == 1
        assert found[0].step == 1 or digest(vars(found[0])) == saved
    assert damaged > 100


def test_none_at_all(tmp_path):
    assert find_checkpoint(tmp_path / "nowhere") is None
    with pytest.raises(UserError, match="no checkpoint"):
        load_checkpoint(tmp_path / LAST)


def test_foreign_and_executable_files_are_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "boom",))

    torch.save({"model": {}}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="no checkpoint of linegroup"):
        load_checkpoint(tmp_path / "foreign.pt")
    torch.save({"model": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(UserError, match="damaged or holds code"):
        load_checkpoint(tmp_path / "bomb.pt")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_disk_full_leaves_the_old_ones(tmp_path, call, monkeypatch):
    save_checkpoint(tmp_path, LAST, state(1))

    def fail(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    if call == "link":
        # Without hard links the file is copied: that may be a disk without them, not a full one.
        save_checkpoint(tmp_path, LAST, state(2))
    else:
        with pytest.raises(UserError, match=r"No space left.*run the same command again"):
            save_checkpoint(tmp_path, LAST, state(2))
    monkeypatch.undo()
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert found[0].step == (2 if call == "link" else 1)
    assert load_checkpoint(tmp_path / PREVIOUS).step == 1
    assert not list(tmp_path.glob(".*"))


def test_other_settings_are_named_with_both_values():
    check_same(state().settings, dict(state().settings), Path("x"))
    with pytest.raises(UserError, match=r"model\.width was 4, is 8") as error:
        check_same(state().settings, {**state().settings, "model.width": 8}, Path("x"))
    assert "augment" not in str(error.value)


def test_digest_sees_everything():
    base = {"a": torch.zeros(3), "b": [1, 2.0, None, "x"], "c": {"d": (1, 2)}}
    variants = [
        {**base, "a": torch.zeros(3, dtype=torch.float64)},
        {**base, "a": torch.zeros(3, 1)},
        {**base, "a": torch.tensor([0.0, 0.0, 1e-30])},
        {**base, "b": [1, 2.0, None, "y"]},
        {**base, "c": {"d": (1, 2, 3)}},
        {**base, "e": 1},
    ]
    assert len({digest(tree) for tree in [base, *variants]}) == len(variants) + 1
    assert digest({"a": torch.zeros(2, 3).T}) == digest({"a": torch.zeros(3, 2)})
