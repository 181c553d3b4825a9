"""The one configuration tree: defaults < YAML file < dotted overrides, saved with every model.

Sections are frozen and refuse unknown keys, naming the nearest right one. Nothing here touches
files, environment or devices: paths are plain strings until the stage that uses them opens them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator
from pydantic import Field as Setting

from linegroup.errors import UserError, plainly

Share = float
"""A number in [0, 1]."""

Weight = Annotated[float, Setting(gt=0)]
Side = Annotated[int, Setting(ge=1)]
Zoom = Annotated[float, Setting(gt=0)]
Quality = Annotated[int, Setting(ge=1, le=100)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


class DataConfig(Section):
    """Which shards are read, and how their vectors are drawn."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # YAML reads the category 2 as a number

    train: str | None = Setting(
        None, description="Shard folder, whose `train` split is trained on, or a generated source: synth:charts?seed=7."
    )
    mix: dict[str, Weight] = Setting(
        {}, description="In place of `train`: several of them by weight, {synth:charts: 3, SHARDS: 1}."
    )
    epoch_samples: int | None = Setting(
        None,
        ge=1,
        description="Samples of an epoch, whatever the sources; null: all of the shards, or 2048 where a source has no"
        " end.",
    )
    val: str | None = Setting(
        None, description="Shard folder whose `val` split is scored; default: that of `train`, none for other sources."
    )
    category: str | None = Setting(None, description="Name or number of the category that is drawn; default: all.")
    thickness: float = Setting(2.0, gt=0, description="Width in pixels of lines that bring none of their own.")
    min_thickness: float = Setting(1.5, ge=0, description="Thinner lines are drawn this wide, so that none has gaps.")

    @model_validator(mode="after")
    def _one_way_to_name_training_data(self) -> DataConfig:
        if self.train is not None and self.mix:
            raise ValueError(
                "data.train and data.mix exclude each other: name every source in data.mix, or set data.mix={} or"
                " data.train=null"
            )
        return self


class AugmentConfig(Section):
    """Random changes of a training sample. Probabilities per sample; 0 switches one off."""

    enabled: bool = True
    crop: tuple[Side, Side] | None = Setting((256, 320), description="(height, width) of training crops; null: whole.")
    fill: bool = Setting(False, description="Set pictures smaller than the crop on a page as large as it: no padding.")
    flip: Share = Setting(0.5, ge=0, le=1)
    rotate90: Share = Setting(0.1, ge=0, le=1)
    scale: tuple[Zoom, Zoom] = Setting((0.7, 1.4), description="Range of the random zoom; (1, 1) switches it off.")
    colour: Share = Setting(0.5, ge=0, le=1, description="Brightness, contrast, saturation, hue.")
    grey: Share = Setting(0.05, ge=0, le=1, description="Colours taken away.")
    blur: Share = Setting(0.1, ge=0, le=1)
    noise: Share = Setting(0.1, ge=0, le=1)
    jpeg: Share = Setting(0.2, ge=0, le=1)
    jpeg_quality: tuple[Quality, Quality] = Setting((40, 95), description="Range of qualities, 1 to 100.")

    @field_validator("scale", "jpeg_quality")
    @classmethod
    def _is_range(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if ends[0] > ends[1]:
            raise ValueError(f"a range goes from the smaller to the larger number; got {ends}")
        return ends


class ModelConfig(Section):
    """Backbone and heads."""

    backbone: str = "small_unet"
    width: int = Setting(16, ge=1, le=512, description="Channels of the first level.")
    growth: float = Setting(2.0, ge=1, le=4, description="Channels grow by this factor at each pooling.")
    depth: int = Setting(4, ge=1, le=7, description="Number of poolings.")
    emb_dim: int = Setting(8, ge=1, le=64, description="Embedding size per pixel.")
    coordinates: bool = Setting(
        False, description="Two extra input channels: x and y in units of 256 pixels; needs augment.crop=null."
    )
    light_page: bool = Setting(
        False, description="Show pictures that are mostly dark as their negatives: dark pages are rare in training."
    )
    foreground_scales: tuple[Annotated[float, Setting(gt=0, lt=1)], ...] = Setting(
        (), description="In use, look for the foreground in the picture at these sizes too: more of it is seen at once."
    )
    norm: Literal["batch", "none"] = "batch"
    heads: tuple[str, ...] = ("embedding", "foreground")


class LossConfig(Section):
    """Discriminative loss (De Brabandere et al. 2017, arXiv:1708.02551) and the other heads' weights."""

    delta_v: float = Setting(0.5, gt=0, description="Pixels nearer than this to their line's mean cost nothing.")
    delta_d: float = Setting(1.5, gt=0, description="Means further apart than 2·delta_d cost nothing.")
    variance: float = Setting(1.0, ge=0)
    distance: float = Setting(1.0, ge=0)
    regularization: float = Setting(0.001, ge=0)
    near: float = Setting(0.0, ge=0, description="Contrast of pixels up to 34 apart; 0: none.")
    foreground: float = Setting(1.0, ge=0)
    crossing: float = Setting(1.0, ge=0)
    tangent: float = Setting(1.0, ge=0)

    @model_validator(mode="after")
    def _margins_leave_room(self) -> LossConfig:
        if self.near and self.delta_d < self.delta_v:
            raise ValueError("loss.near needs loss.delta_d to be at least loss.delta_v: else no pair can cost nothing")
        return self


class GroupingConfig(Section):
    """From dense maps to lines. Stored with the model as `grouping.json`; the same everywhere."""

    method: str = Setting("dbscan", description="Name of a grouper.")
    candidates: str = Setting(
        "model", description="Pixels to group: model, non_background, non_white, canny, all_pixels."
    )
    foreground_threshold: float = Setting(0.5, ge=0, le=1, description="For `model`.")
    white_threshold: int = Setting(245, ge=0, le=255, description="For `non_white`: a channel below this is ink.")
    canny_threshold1: float = Setting(50.0, ge=0)
    canny_threshold2: float = Setting(150.0, ge=0)
    canny_aperture_size: Literal[3, 5, 7] = 3
    canny_l2gradient: bool = False
    canny_dilate_iter: int = Setting(1, ge=0, le=50)
    eps: float = Setting(0.5, gt=0, description="DBSCAN radius, in embedding units.")
    min_samples: float = Setting(
        0.002, gt=0, description="Below 1: share of the candidates (at least 20); else a number of pixels."
    )
    min_cluster_size: float = Setting(
        0.01, gt=0, description="HDBSCAN: below 1 a share of the candidates (at least 20)."
    )
    cluster_selection_epsilon: float = Setting(0.0, ge=0, description="HDBSCAN: clusters nearer than this are one.")
    auto_eps: bool = Setting(False, description="Take eps from the k-distance quantile.")
    auto_eps_k: int = Setting(10, ge=1)
    auto_eps_q: float = Setting(0.9, ge=0, le=1)
    use_spatial: bool = Setting(False, description="Append positions to the features.")
    spatial_weight: float = Setting(0.01, ge=0, description="Embedding units per pixel.")
    l2_normalize: bool = Setting(False, description="Only for embeddings trained normalised.")
    bandwidth: float | None = Setting(
        None, gt=0, description="Margin grouper: radius of a line around its mean. Default: loss.delta_v of the model."
    )
    margin: float | None = Setting(
        None, gt=0, description="Margin grouper: half the distance of two lines' means. Default: loss.delta_d."
    )
    most_clusters: int = Setting(12, ge=1, le=64, description="K-means and GMM try 1 up to so many clusters.")
    crossing_threshold: float = Setting(
        0.5, gt=0, description="Candidates that are crossings with this probability are assigned after the clustering."
    )
    embedding_cost: float = Setting(
        4.0,
        ge=0,
        description="Link: what unlike embeddings add to the cost of a link at most; usual links cost 1.",
    )
    max_candidate_points: int = Setting(
        500_000, ge=1, description="More candidates are sampled (seeded); the rest join the nearest cluster."
    )
    max_work: int = Setting(
        500_000_000,
        ge=0,
        description="Steps of about 50 ns that a clustering may take; 0: no limit. Points of an untrained model lie"
        " almost evenly and need most.",
    )
    over_work: Literal["sample", "error"] = Setting(
        "sample", description="Beyond max_work: cluster a seeded sample and assign the rest, or stop with an error."
    )
    noise: Literal["drop", "assign"] = Setting("assign", description="What becomes of pixels without a cluster.")
    min_pixels: int = Setting(10, ge=1, description="Smaller groups are noise.")
    seed: int = Setting(0, ge=0)

    def changed(self, overrides: Mapping[str, Any] | None) -> GroupingConfig:
        """A copy with some settings changed.

        Raises:
            UserError: unknown setting or value out of range.
        """
        if not overrides:
            return self
        tree = {**self.model_dump(), **overrides}
        return build_config({"grouping": tree}, where="grouping").grouping


class TrainingConfig(Section):
    """The training run."""

    out: str = Setting("runs/train", description="Run folder: checkpoints, artifact, pictures.")
    init: str | None = Setting(
        None, description="Begin with the weights of a model: pretrained, an artifact folder, models:/NAME@ALIAS."
    )
    epochs: int = Setting(10, ge=1)
    max_steps: int = Setting(0, ge=0, description="Stop after this many optimizer steps; 0: after `epochs`.")
    batch_size: int = Setting(4, ge=1, description="Samples per worker and step.")
    optimizer: Literal["adam", "adamw"] = "adamw"
    lr: float = Setting(2e-3, gt=0)
    weight_decay: float = Setting(1e-4, ge=0)
    schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle"
    grad_clip: float = Setting(10.0, ge=0, description="Largest gradient norm; 0: no clipping.")
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Setting(
        "fp32", description="auto: bf16 where the device multiplies it in hardware (elsewhere it is slow), else fp32."
    )
    device: str = Setting("auto", description="auto, cpu, cuda, cuda:1, …")
    seed: int = Setting(0, ge=0)
    save_every: int = Setting(1, ge=1, description="Epochs between checkpoints.")
    eval_every: int = Setting(1, ge=1, description="Epochs between validations.")
    val_limit: int = Setting(0, ge=0, description="Score only this many validation charts while training; 0: all.")
    metric: Literal["val_ari", "val_loss", "val_pair_f1"] = Setting("val_ari", description="Chooses `best`.")
    resume: str = Setting(
        "auto", description="auto: go on where `out` stands; none: refuse a used `out`; or a checkpoint."
    )
    max_bad_batches: int = Setting(10, ge=0, description="NaN batches in a row are skipped up to here, then an error.")
    loader_workers: int = Setting(0, ge=0, description="Processes that prepare batches; 0: in the training process.")
    pictures: int = Setting(4, ge=0, description="Validation charts drawn at each validation.")


class RayConfig(Section):
    """How training is spread; the same keys on a laptop and on a cluster."""

    num_workers: int = Setting(1, ge=0, description="DDP workers; 0: plain loop in this process, without Ray.")
    use_gpu: bool | None = Setting(None, description="None: when the cluster has GPUs.")
    cpus_per_worker: float = Setting(1.0, gt=0)
    loaders_per_worker: int = Setting(1, ge=1, description="Ray Data actors per worker that prepare batches.")
    cpus_per_loader: float = Setting(0.5, gt=0)
    max_failures: int = Setting(2, ge=0, description="Worker deaths survived by going on from the last checkpoint.")
    address: str | None = Setting(
        None, description="Ray cluster; None: the running one (RAY_ADDRESS), else a local one."
    )
    storage: str | None = Setting(None, description="Shared folder or URI for checkpoints; default: `training.out`.")


class TrackingConfig(Section):
    """MLflow. The environment's MLFLOW_TRACKING_URI wins over the default, `uri` over both."""

    enabled: bool = True
    uri: str | None = Setting(None, description="Default: SQLite file `mlruns/mlflow.db` in the working folder.")
    experiment: str = "linegroup"
    run_name: str | None = None


class Config(Section):
    """Everything: one tree, one file, one object that is stored with each model."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    grouping: GroupingConfig = GroupingConfig()
    training: TrainingConfig = TrainingConfig()
    ray: RayConfig = RayConfig()
    tracking: TrackingConfig = TrackingConfig()

    @property
    def decoding(self) -> GroupingConfig:
        """The grouping, with the margins of the loss where it names none of its own."""
        margins = {"bandwidth": self.loss.delta_v, "margin": self.loss.delta_d}
        return self.grouping.model_copy(
            update={name: value for name, value in margins.items() if getattr(self.grouping, name) is None}
        )

    @model_validator(mode="after")
    def _places_are_those_of_use(self) -> Config:
        if self.model.coordinates and self.augment.enabled and self.augment.crop is not None:
            raise ValueError(
                "model.coordinates needs augment.crop=null: in a crop they start at 0 wherever it was cut, so that most"
                " places of a whole picture would never be seen in training"
            )
        return self

    @model_validator(mode="after")
    def _candidates_have_their_head(self) -> Config:
        if self.grouping.candidates == "model" and "foreground" not in self.model.heads:
            raise ValueError(
                "grouping.candidates=model needs the foreground head, which model.heads leaves out; without it choose"
                " grouping.candidates=non_white or non_background"
            )
        return self


def load_config(path: Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Defaults, then the YAML file at `path`, then `dotted.key=value` overrides (values in YAML syntax).

    Raises:
        UserError: the file is missing or no YAML mapping, a key is unknown, a value out of range.
    """
    return build_config(settings_tree(path, overrides), where=str(path) if path else "overrides")


def settings_tree(path: Path | None, overrides: Iterable[str]) -> dict[str, Any]:
    """Nested plain data from a YAML file and dotted overrides, not checked for what they mean.

    Raises:
        UserError: the file is missing or no YAML mapping, or an override cannot be read.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        tree = _read_yaml(path)
    for override in overrides:
        _apply(tree, override)
    return tree


def build_config(tree: Mapping[str, Any], where: str = "configuration") -> Config:
    """A checked `Config` from nested mappings.

    Raises:
        UserError: an unknown key (the nearest right one is named) or a value out of range.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {explain_settings(error, Config())}") from None


def recipe(config: Config) -> str:
    """YAML of what differs from the defaults: `load_config` makes an equal configuration of it."""
    tree, defaults = config.model_dump(mode="json"), Config().model_dump(mode="json")
    if config.training.init is not None:
        # There the model that it begins with has the say of what is left out.
        defaults |= {"model": {}, "loss": {}, "grouping": {}}
    return yaml.safe_dump(_differing(tree, defaults), sort_keys=False)


def _differing(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in defaults:
            found[key] = value
        elif value != defaults[key]:
            sections = isinstance(value, dict) and isinstance(defaults[key], dict)
            found[key] = _differing(value, defaults[key]) if sections else value
    return found


def flat(section: BaseModel, prefix: str = "") -> dict[str, Any]:
    """The tree as `{dotted.key: value}`, as MLflow's parameters want it."""
    leaves: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            leaves.update(flat(value, f"{prefix}{name}."))
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the configuration {path}: {plainly(error)}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {plainly(error)}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold a mapping of settings; got {type(tree).__name__}.")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"Override {override!r} must read dotted.key=value, for example training.epochs=20.")
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError as error:
        raise UserError(f"Override {override!r}: the value is not valid YAML: {plainly(error)}.") from None
    # YAML 1.1 reads 1e-3 as a string, and it stays one: only the setting's type says whether it is a number.
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UserError(f"Override {override!r}: {section!r} is a value, not a section.")
    tree[leaf] = value


def checked_section(kind: type[SectionT], tree: Mapping[str, Any], known: SectionT, what: str) -> SectionT:
    """A section of plain data.

    Args:
        kind: Of section.
        tree: The data.
        known: One that is right, for its names.
        what: Begins the message.

    Raises:
        UserError: an unknown key (the nearest right one is named), a value out of range, or one that is missing.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        said = explain_settings(error, known).replace("Value error, ", "").removeprefix(": ")
        raise UserError(f"{what}: {said}.") from None


def explain_settings(error: ValidationError, tree: Section) -> str:
    """What is wrong with some settings, in one line; unknown keys with the nearest of `tree`."""
    return "; ".join(_explain(e["loc"], e["type"], e["msg"], tree) for e in error.errors())


def _explain(loc: tuple[int | str, ...], kind: str, message: str, tree: Section) -> str:
    key = ".".join(str(part) for part in loc)
    if kind != "extra_forbidden":
        return f"{key}: {message}"
    known = list(flat(tree))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    if not near:
        near = [name for name in known if name.rpartition(".")[2] == str(loc[-1])][:1]
    return f"unknown key {key!r}" + (
        f", did you mean {near[0]!r}?" if near else f"; keys: {', '.join(type(tree).model_fields)}"
    )
