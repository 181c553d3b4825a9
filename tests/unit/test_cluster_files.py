"""`cluster.yaml` and `jobs/kuberay/`: what Ray would refuse, and what would only show on a bill or in a break-in."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from sqlalchemy.engine import make_url

from linegroup.config import load_config
from linegroup.tuning.plans import load_search

ROOT = Path(__file__).parents[2]
WALK = ROOT / "docs" / "cluster.md"
KUBERAY = ROOT / "jobs" / "kuberay"
FILES = (ROOT / "cluster.yaml", *sorted(KUBERAY.iterdir()))
RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group(1)
COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def kuberay(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A document, and the cluster in it."""
    tree = yaml.safe_load((KUBERAY / name).read_text())
    return tree, tree["spec"].get("rayClusterSpec", tree["spec"])


def cpus(pod: dict[str, Any]) -> int:
    return int(pod["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])


def test_ray_takes_the_cluster(cluster):
    validate_config(prepare_config(cluster))


def test_ray_would_refuse_a_wrong_one(cluster):
    import jsonschema

    cluster["available_node_types"]["gpu_worker"]["min_worker"] = 0
    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        validate_config(prepare_config(cluster))


def test_machines(cluster):
    types = cluster["available_node_types"]
    head, workers = types.pop(cluster["head_node_type"]), types
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]  # on demand
    assert {name: kind["resources"].get("GPU", 0) for name, kind in workers.items()} == {
        "gpu_worker": 1,
        "cpu_worker": 0,
    }
    for kind in workers.values():
        assert kind["min_workers"] == 0
        assert kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    # Ray does not see that itself.
    assert sum(kind["max_workers"] for kind in workers.values()) == cluster["max_workers"]
    assert cluster["provider"]["cache_stopped_nodes"] is False


@pytest.fixture
def aws(monkeypatch) -> Iterator[ModuleType]:
    """What Ray does for AWS; no package of AWS is needed for it."""
    parts = ("", ".client", ".config", ".exceptions", ".resources", ".resources.base")
    for name in (package + part for package in ("boto3", "botocore") for part in parts):
        monkeypatch.setitem(sys.modules, name, MagicMock(__version__="1.99"))
    yield importlib.import_module("ray.autoscaler._private.aws.config")
    for name in [name for name in sys.modules if name.startswith("ray.autoscaler._private.aws")]:
        del sys.modules[name]


def test_every_machine_is_in_a_group_made_beforehand(cluster):
    assert "security_group" not in cluster["provider"]
    for kind in cluster["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"] == ["sg-0123456789abcdef0"]
        assert kind["node_config"]["ImageId"].startswith("ami-")


def test_ray_leaves_group_and_image_as_they_are(cluster, aws, monkeypatch):
    """Neither is another group made, nor has this one a method by which rules could be added."""
    group = SimpleNamespace(id="sg-0123456789abcdef0", vpc_id="vpc-ours")
    subnets = [
        SimpleNamespace(
            subnet_id=f"subnet-{vpc}-{zone}",
            vpc_id=vpc,
            availability_zone=f"us-west-2{zone}",
            state="available",
            map_public_ip_on_launch=True,
        )
        for vpc in ("vpc-ours", "vpc-default")
        for zone in "abc"
    ]
    ec2 = SimpleNamespace(
        subnets=SimpleNamespace(all=lambda: subnets), security_groups=SimpleNamespace(filter=lambda **_: [group])
    )
    monkeypatch.setattr(aws, "_resource", lambda *_: ec2)
    monkeypatch.delattr(aws, "_client")
    given = prepare_config(cluster)
    wanted = {name: dict(kind["node_config"]) for name, kind in given["available_node_types"].items()}
    done = aws._configure_security_group(aws._configure_subnet(given))
    aws._check_ami(done)
    zones = [f"subnet-vpc-ours-{zone}" for zone in "abc"]
    for name, kind in done["available_node_types"].items():
        assert kind["node_config"] == {**wanted[name], "SubnetIds": zones}


def test_a_group_that_ray_makes_is_open_to_the_internet(aws):
    """Why `cluster.yaml` names one. Should Ray change that, `provider.security_group` would do."""
    rules = aws._create_default_inbound_rules({"sg-1"}, [])
    assert [rule["FromPort"] for rule in rules if {"CidrIp": "0.0.0.0/0"} in rule.get("IpRanges", [])] == [22]


def test_the_walk_is_shell_and_opens_nothing_to_the_internet():
    blocks = re.findall(r"```bash\n(.*?)```", WALK.read_text(), re.DOTALL)
    for block in blocks:
        done = subprocess.run(["bash", "-n", "-c", block], capture_output=True, text=True, check=False)
        assert not done.stderr, block
    rules = [line for block in blocks for line in block.splitlines() if "authorize-security-group-ingress" in line]
    assert any("--protocol all --source-group" in rule for rule in rules)
    assert all("--source-group " in rule or "--cidr 203.0.113.0/24" in rule for rule in rules)


def test_a_training_of_the_search_fits_its_machine(cluster):
    _, search = load_search(ROOT / "tune" / "recipes" / "cluster.yaml", [])
    machine = cluster["available_node_types"]["gpu_worker"]["resources"]
    assert search.cpus <= machine["CPU"]
    assert search.gpus == machine["GPU"]


def test_the_walk_searches_by_the_recipe_and_trains_the_winner():
    text = WALK.read_text().replace("\\\n", " ")
    found = re.findall(r"-- ((?:linegroup tune training|python jobs/train_model).*)", text)
    search, train = map(shlex.split, found)
    config, settings = load_search(ROOT / search[search.index("--config") + 1], search[5:])
    assert config.training.loader_workers
    assert settings.gpus == 1
    flags = runpy.run_path(str(ROOT / train[1]))["parse"](train[2:])
    assert str(flags.config) == f"{settings.out}/best.yaml"
    winner = load_config(None, flags.overrides)
    cluster = load_config(ROOT / "jobs" / "recipes" / "cluster.yaml")
    assert winner.ray == cluster.ray


def test_a_worker_of_the_recipe_fits_its_machine(cluster):
    recipe = load_config(ROOT / "jobs" / "recipes" / "cluster.yaml").ray
    wanted = recipe.cpus_per_worker + recipe.loaders_per_worker * recipe.cpus_per_loader
    machine = cluster["available_node_types"]["gpu_worker"]
    assert wanted <= machine["resources"]["CPU"]
    assert recipe.num_workers <= machine["max_workers"]


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_shell(cluster, name):
    for command in cluster[name]:
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert not done.stderr, command


def test_no_machine_starts_ray_without_the_token(cluster):
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        (start,) = [command for command in cluster[name] if "ray start" in command]
        before = start[: start.index("ray start")]
        assert "RAY_AUTH_MODE=token" in before
        assert "RAY_AUTH_TOKEN_PATH=$HOME/.linegroup/ray_token" in before
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]
    assert "--num-cpus=0" in cluster["head_start_ray_commands"][-1]
    assert cluster["file_mounts"]["/home/ray/.linegroup/ray_token"] == "~/.linegroup/ray_token"


@pytest.mark.parametrize("path", [*FILES, WALK], ids=lambda path: path.name)
def test_no_secret_is_written_down(path):
    text = path.read_text()
    assert not re.search(r"\b[0-9a-fA-F]{32,}\b", text)
    assert not re.search(r"RAY_AUTH_TOKEN=\S", text)
    assert not re.search(r"://[^\s/:]+:[^\s/@$]+@", text)  # user:password@
    assert not re.search(r"AKIA[0-9A-Z]{16}", text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_images_have_the_version_of_ray_that_is_pinned(path):
    assert set(re.findall(r"rayproject/ray:([\d.]+)", path.read_text())) <= {RAY}


def test_file_mounts_are_there(cluster):
    for place in cluster["file_mounts"].values():
        assert place.startswith("~/.linegroup/") or (ROOT / place).exists()


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_kubernetes_has_the_same_cluster(cluster, name):
    _, same = kuberay(name)
    types = cluster["available_node_types"]
    assert same["rayVersion"] == RAY
    assert same["authOptions"] == {"mode": "token", "secretName": "linegroup-ray-token"}
    assert same["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
    assert same["autoscalerOptions"]["idleTimeoutSeconds"] == 60 * cluster["idle_timeout_minutes"]
    for group in same["workerGroupSpecs"]:
        twin = types[group["groupName"].replace("-", "_")]
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert (group["minReplicas"], group["maxReplicas"]) == (twin["min_workers"], twin["max_workers"])
        assert cpus(group) == twin["resources"]["CPU"]
        assert int(limits.get("nvidia.com/gpu", 0)) == twin["resources"].get("GPU", 0)
    pods = [same["headGroupSpec"], *same["workerGroupSpecs"]]
    for pod in pods:
        spec = pod["template"]["spec"]
        container = spec["containers"][0]
        assert container["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
        assert {volume["name"] for volume in spec["volumes"]} == {"shared"}
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_submitted_job_is_one():
    tree, _ = kuberay("rayjob.yaml")
    python, script, *words = shlex.split(tree["spec"]["entrypoint"])
    assert python == "python"
    flags = runpy.run_path(str(ROOT / script))["parse"](words)
    config = load_config(ROOT / flags.config, flags.overrides)
    assert config.training.out.startswith("/shared/")
    assert tree["spec"]["shutdownAfterJobFinishes"] is True


def test_who_trains_on_the_charts_of_the_walk_names_charts_to_validate_on():
    """Step 7 makes training charts without a val split."""
    walk = WALK.read_text()
    assert "--val-fraction 0 --out /shared/shards" in walk
    files = ("docs/cluster.md", "docs/tuning.md", "tune/recipes/cluster.yaml", "jobs/recipes/cluster.yaml")
    for name in files:
        text = (ROOT / name).read_text()
        assert text.count("data.train=/shared/shards data.val=/shared/validation") == text.count("data.train=/shared/")
        assert "data.train=/shared/shards" in text


def test_what_computes_in_its_driver_is_given_cpus():
    """The head has none for tasks."""
    text = WALK.read_text().replace("\\\n", " ")
    commands = [line for line in text.splitlines() if line.startswith("ray job submit")]
    for word in ("tune training", "promote_model.py"):
        (command,) = [line for line in commands if word in line]
        assert "--entrypoint-num-cpus 4 -- " in command


def test_mlflow_service_is_what_pods_call():
    documents = list(yaml.safe_load_all((KUBERAY / "mlflow.yaml").read_text()))
    deployment, service = documents
    port = service["spec"]["ports"][0]["port"]
    _, cluster = kuberay("raycluster.yaml")
    environment = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    uri = next(entry["value"] for entry in environment if entry["name"] == "MLFLOW_TRACKING_URI")
    assert uri == f"http://{service['metadata']['name']}:{port}"
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    allowed = next(e["value"] for e in container["env"] if e["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS")
    assert uri.removeprefix("http://") in allowed.split(",")
    assert container["envFrom"] == [{"secretRef": {"name": "linegroup-mlflow"}}]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("path", [*FILES, WALK], ids=lambda path: path.name)
def test_the_database_is_spoken_to_by_the_driver_that_is_installed(path):
    """SQLAlchemy takes another one for `postgresql://`, and the server does not start."""
    text = path.read_text()
    uris = re.findall(r"postgresql[+\w]*://", text)
    assert uris or path.name not in ("cluster.md", "mlflow.yaml")
    assert {make_url(f"{uri}/mlflow").get_driver_name() for uri in uris} <= {"psycopg2"}
    assert set(re.findall(r"(?<!\+)\bpsycopg[\w-]*", text)) <= {"psycopg2-binary"}


def test_every_shipped_yaml_is_loaded_by_a_test():
    """A file that nothing reads rots: say here which test reads it."""
    known = {
        "cluster.yaml": "here",
        "jobs/kuberay/*.yaml": "here",
        "jobs/recipes/*.yaml": "tests/entrypoints/test_jobs_local.py",
        "linegroup/recipes/*.yaml": "below",
        "linegroup/recipes/spaces/*.yaml": "tests/unit/test_spaces.py",
        "linegroup/sources/synth/validation.yaml": "tests/unit/test_synth.py",
        "tune/recipes/*.yaml": "tests/unit/test_search_plan.py",
        "serve/*.yaml": "tests/unit/test_serve_files.py",
    }
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "*.yaml", "*.yml"], capture_output=True, text=True, check=False
    )
    files = [Path(line) for line in listed.stdout.splitlines()]
    strangers = [str(file) for file in files if not any(file.match(pattern) for pattern in known)]
    assert not strangers, f"no test is known to load {strangers}"
    for path in sorted((ROOT / "linegroup" / "recipes").glob("*.yaml")):
        load_config(path)
