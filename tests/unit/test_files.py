"""Folders that go, and what comes in their place."""

import shutil

import pytest

from linegroup import files


def test_a_folder_goes_although_others_write_into_it(tmp_path, monkeypatch):
    """A stopped job's last tasks: what they write while the folder is emptied must not keep it there."""
    folder = tmp_path / "work"
    (folder / "done").mkdir(parents=True)
    (folder / "done" / "1.json").write_text("1")
    emptied = shutil.rmtree

    def meanwhile(path, *args, **kwargs):
        with pytest.raises(FileNotFoundError):
            (folder / "done" / "2.json").write_text("2")
        emptied(path, *args, **kwargs)

    monkeypatch.setattr(files.shutil, "rmtree", meanwhile)
    files.remove_folder(folder)
    assert not list(tmp_path.iterdir())
