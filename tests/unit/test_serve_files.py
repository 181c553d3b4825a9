"""The files in serve/ against Ray's own schemas, and the deployments they speak of."""

import inspect
import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from ray._common.utils import import_attr
from ray.exceptions import GetTimeoutError
from ray.serve.schema import ServeDeploySchema

from linegroup.distributed.serving import local
from linegroup.distributed.serving.application import CLUSTERER, EMBEDDER, INGRESS, application
from linegroup.distributed.serving.arguments import ServiceArguments
from linegroup.distributed.serving.holder import ModelChoice
from linegroup.distributed.serving.proxied import PROXY_MIDDLEWARES, PROXY_SETTING, proxy_middlewares
from linegroup.errors import UserError
from linegroup.serving.settings import ServiceSettings
from linegroup.serving.telemetry import Telemetry

SERVE = Path(__file__).parents[2] / "serve"


def settings(**values) -> ServiceSettings:
    return ServiceSettings.read(_env_file=None, api_auth_enabled=False, **values)


def config() -> dict:
    return yaml.safe_load((SERVE / "config.yaml").read_text())


def ray_service() -> dict:
    return yaml.safe_load((SERVE / "rayservice.yaml").read_text())


def deployments(tree: dict) -> dict:
    (app,) = ServeDeploySchema.model_validate(tree).applications
    return {deployment.name: deployment for deployment in app.deployments}


@pytest.mark.parametrize("tree", [config(), yaml.safe_load(ray_service()["spec"]["serveConfigV2"])], ids=str)
def test_config_is_what_ray_takes(tree):
    (app,) = ServeDeploySchema.model_validate(tree).applications
    assert app.import_path == "serve.app:build"
    ServiceArguments.model_validate(app.args)
    found = deployments(tree)
    assert set(found) == {EMBEDDER, CLUSTERER, INGRESS}
    assert found[EMBEDDER].autoscaling_config["min_replicas"] == 0
    assert found[EMBEDDER].ray_actor_options.num_gpus == 1
    assert found[CLUSTERER].autoscaling_config["min_replicas"] == 1
    assert found[CLUSTERER].autoscaling_config["max_replicas"] > 1
    ModelChoice.model_validate(found[EMBEDDER].user_config)
    # A batch must fit into what a replica takes, or it never fills.
    assert found[EMBEDDER].max_ongoing_requests >= app.args["batch"]


def test_both_files_deploy_the_same():
    assert yaml.safe_load(ray_service()["spec"]["serveConfigV2"]) == config()


def test_config_has_no_unknown_keys():
    """Ray itself ignores some of them in silence."""
    for entry in config()["applications"][0]["deployments"]:
        schema = type(deployments(config())[entry["name"]])
        assert set(entry) <= set(schema.model_fields)


def test_ray_service_is_guarded_and_fits():
    tree = ray_service()
    assert (tree["apiVersion"], tree["kind"]) == ("ray.io/v1", "RayService")
    cluster = tree["spec"]["rayClusterConfig"]
    assert cluster["authOptions"]["mode"] == "token"
    gpu = [
        group
        for group in cluster["workerGroupSpecs"]
        if "nvidia.com/gpu" in group["template"]["spec"]["containers"][0]["resources"]["limits"]
    ]
    assert [group["minReplicas"] for group in gpu] == [0]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert {"secretRef": {"name": "linegroup"}} in container["envFrom"]
        assert {"name": PROXY_SETTING, "value": PROXY_MIDDLEWARES} in container["env"]
    assert import_attr(PROXY_MIDDLEWARES) is proxy_middlewares
    assert f"{PROXY_SETTING}={PROXY_MIDDLEWARES}" in (SERVE / "config.yaml").read_text()
    assert "API_AUTH" not in str(tree["spec"]), "secrets come from the Secret"


def test_builder_is_typed_for_ray(monkeypatch):
    """With annotations as text Ray would hand over a plain dict, unchecked."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("serve_app_under_test", SERVE / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (parameter,) = inspect.signature(module.build).parameters.values()
    assert parameter.annotation is ServiceArguments
    monkeypatch.setenv("API_AUTH_ENABLED", "false")
    made = module.build(ServiceArguments(max_clusterers=3))
    assert made._bound_deployment.name == INGRESS


def test_unknown_argument_is_refused():
    with pytest.raises(ValidationError):
        ServiceArguments.model_validate({"max_cluster": 3})


def deployed(**values) -> dict:
    """The deployments of an application by name."""
    top = application(ServiceArguments(**values), settings())._bound_deployment
    inner = {each._bound_deployment.name: each._bound_deployment for each in top.init_args[1:]}
    return {INGRESS: top, **inner}


def test_deployments_scale_apart_and_queues_are_bounded():
    made = deployed(max_embedders=3, max_clusterers=5)
    assert made[EMBEDDER]._deployment_config.autoscaling_config.max_replicas == 3
    assert made[CLUSTERER]._deployment_config.autoscaling_config.max_replicas == 5
    for deployment in made.values():
        assert deployment.max_queued_requests > 0
        assert deployment._deployment_config.health_check_timeout_s * 3 <= 45
    assert made[INGRESS]._deployment_config.backpressure_config.retry_after_s == 1


def test_gpu_only_as_wanted():
    assert deployed(embedder_gpus=0.5)[EMBEDDER].ray_actor_options["num_gpus"] == 0.5
    assert deployed(embedder_gpus=0)[EMBEDDER].ray_actor_options["num_gpus"] == 0
    with pytest.raises(UserError, match="embedder_gpus"):
        application(ServiceArguments(embedder_gpus=0), settings(model_device="cuda"))


def test_folder_of_a_model_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    user_config = deployed(model="model")[EMBEDDER].user_config
    assert user_config == {"model_uri": str(tmp_path / "model")}
    assert deployed(model="models:/linegroup@champion")[EMBEDDER].user_config["model_uri"].startswith("models:/")


def test_dashboard_shows_what_the_service_counts():
    """Every figure of ours is on it, and none that does not exist; Ray's own have Ray's prefix."""
    board = json.loads((SERVE / "grafana.json").read_text())
    shown = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    asked = set(re.findall(r"\blinegroup_[a-z_]+", shown))
    families = Telemetry(lambda: 0).registry.collect()
    counted = {family.name for family in families}
    ends = ("_total", "_bucket", "_sum", "_count")
    plain = {next((name.removesuffix(end) for end in ends if name.endswith(end)), name) for name in asked}
    assert plain == counted
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_a_proxy_that_is_late_is_said_plainly(monkeypatch):
    def late(**_given):
        raise GetTimeoutError("Get timed out")

    monkeypatch.setattr(local.serve, "start", late)
    with pytest.raises(UserError, match=r"HTTP proxy was not there in time. Try again"):
        local.start_http("127.0.0.1", 1)
