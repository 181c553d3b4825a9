"""Which code is running, read from the files of git without git."""

from __future__ import annotations

from pathlib import Path


def git_commit(folder: Path) -> str | None:
    """The commit that is checked out around `folder`, read from the files of git; None where there is none."""
    for place in (folder.absolute(), *folder.absolute().parents):
        git = place / ".git"
        try:
            if git.is_file():  # a work tree or submodule: a file that names the real folder
                git = place / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
            if git.is_dir():
                return _head(git)
        except (OSError, UnicodeDecodeError):
            return None
    return None


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref: "):
        return head or None
    name = head.removeprefix("ref: ")
    common = git / "commondir"
    folders = [git, git / common.read_text(encoding="utf-8").strip()] if common.exists() else [git]
    for folder in folders:
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8").strip()
        packed = folder / "packed-refs"
        for line in packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else []:
            if line.endswith(f" {name}"):
                return line.split()[0]
    return None
