import pytest

from linegroup.config import load_config
from linegroup.distributed.train import train_distributed, wants_gpu
from linegroup.errors import UserError


@pytest.mark.parametrize(
    ("device", "use_gpu", "expected"),
    [
        ("auto", "null", None),
        ("auto", "true", True),
        ("auto", "false", False),
        ("cpu", "null", False),
        ("cpu", "false", False),
    ],
)
def test_gpus_as_device_and_ray_say(device, use_gpu, expected):
    config = load_config(None, [f"training.device={device}", f"ray.use_gpu={use_gpu}"])
    assert wants_gpu(config) is expected


@pytest.mark.parametrize(
    ("device", "use_gpu"), [("cuda", "null"), ("cuda:1", "true"), ("mps", "false"), ("cpu", "true")]
)
def test_devices_that_ray_does_not_give(device, use_gpu, tmp_path):
    """Refused before anything else is looked at, and before Ray starts."""
    settings = [f"training.device={device}", f"ray.use_gpu={use_gpu}", "ray.num_workers=1", f"training.out={tmp_path}"]
    with pytest.raises(UserError, match=r"ray\.use_gpu"):
        train_distributed(load_config(None, settings))
