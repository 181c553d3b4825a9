"""What an installed linegroup holds: the package and nothing of the workshop."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> list[str]:
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    # Built from a copy, so that no build folder of the checkout leaks into the wheel or is left behind.
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(work), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = work.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_only_the_package_is_installed(names):
    strange = [name for name in names if not name.startswith(("linegroup/", "linegroup-"))]
    assert not strange


def test_every_module_and_preset_is_inside(names):
    package = ROOT / "linegroup"
    wanted = [
        *package.rglob("*.py"),
        *package.rglob("*.yaml"),
        *(package / "pretrained").iterdir(),
        *(package / "serving" / "web").iterdir(),
        package / "py.typed",
    ]
    missing = [str(path.relative_to(ROOT)) for path in wanted if str(path.relative_to(ROOT)) not in names]
    assert not missing


def test_licence_travels(names):
    assert any(name.endswith("/LICENSE") for name in names)
