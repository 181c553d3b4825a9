"""Starting and joining Ray."""

import os
import subprocess
import sys

import pytest
import ray

from linegroup.distributed import session
from linegroup.errors import UserError

PRIVATE_RAY = """
import os, ray
from pathlib import Path
from linegroup.distributed.session import start_ray

before = dict(os.environ)
with start_ray("local", num_cpus=3, object_store_memory=1):
    folder = Path(ray._private.worker.global_worker.node.get_temp_dir_path())
    mode = ray.get(ray.remote(lambda: os.environ["RAY_AUTH_MODE"]).remote())
    cpus = ray.cluster_resources()["CPU"]
    with start_ray():
        pass
    assert ray.is_initialized(), "an inner block must leave Ray running"
    assert ray.data.from_items([1, 2, 3]).sum("item") == 6
assert not ray.is_initialized()
assert not folder.exists()
changed = {key for key in before.keys() | os.environ.keys() if before.get(key) != os.environ.get(key) and "RAY" in key}
assert not changed, changed
assert not Path.home().joinpath(".ray").exists(), "a token was left in the home folder"
print(mode, cpus, len(str(folder)))
"""


@pytest.mark.ray
@pytest.mark.long
def test_private_ray_is_quiet_guarded_and_leaves_nothing(tmp_path):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", PRIVATE_RAY],
        capture_output=True,
        text=True,
        env={**clean, "HOME": str(tmp_path)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mode, cpus, length = done.stdout.split()
    assert (mode, cpus) == ("token", "3.0")
    assert int(length) < 30  # sockets below it have paths of up to 107 characters
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "refused"),
        ("ray://127.0.0.1:1", "refused"),
        ("[::1]:1", ""),
        ("nonsense", "Invalid address format"),
    ],
)
def test_cluster_that_does_not_answer(monkeypatch, address, reason):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(UserError, match=f"Cannot join the Ray cluster at .*{reason}"),
        session.start_ray(),
    ):
        pass


def test_session_fixture_is_used_as_it_is(ray_session):
    with session.start_ray("127.0.0.1:1"):
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
    assert ray.is_initialized()
