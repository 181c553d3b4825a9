"""Search spaces, declared in YAML: which settings are tried, in which range, and under which condition."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml
from pydantic import Field as Setting
from pydantic import ValidationError, field_validator, model_validator

from linegroup.config import Config, Section, build_config, explain_settings, flat
from linegroup.errors import UserError, plainly, unknown_name
from linegroup.heads import HEADS

T = TypeVar("T", bound=Section)

Values = Mapping[str, Any]
"""What was chosen for each parameter, by its name, as Optuna sees it."""

_DIGITS = 4
"""Significant digits of a number that was tried: what comes after them is chance, and hard to read."""


class Suggest(Protocol):
    """What a space needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Any, /) -> Any:
        """One of the choices."""

    def suggest_float(self, name: str, low: float, high: float, /, *, step: float | None, log: bool) -> float:
        """A number."""

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int, log: bool) -> int:
        """A whole number."""


class Parameter(Section):
    """One thing that is tried.

    Attributes:
        key: The setting, dotted.
        name: How tables call it; the key where it is left out. Two parameters may have one key, not one name.
        choices: What it may be. One choice alone is simply set.
        low: Smallest number, in place of `choices`.
        high: Largest number.
        log: Equal ratios are equally likely, not equal steps.
        step: Distance of the numbers that are tried, from `low` on.
        integer: Whole numbers only.
        unit: Dotted setting that the number is multiplied by: 0.4 of `loss.delta_d`.
        head: Only for models that have this head.
        when: Names with the value, or one of the values, that they must have; of several such mappings one must hold.
    """

    key: str
    name: str = ""
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = Setting(None, gt=0)
    integer: bool = False
    unit: str | None = None
    head: str | None = None
    when: tuple[dict[str, tuple[Any, ...]], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, tree: Any) -> Any:
        """A single mapping for `when`, single values in it, and the name that is the key."""
        if not isinstance(tree, dict):
            return tree
        when = tree.get("when", ())
        cases = [when] if isinstance(when, dict) else when
        if all(isinstance(case, dict) for case in cases):
            cases = [{k: v if isinstance(v, list | tuple) else [v] for k, v in case.items()} for case in cases]
        return {**tree, "name": tree.get("name") or tree.get("key", ""), "when": cases}

    @field_validator("head")
    @classmethod
    def _is_a_head(cls, head: str | None) -> str | None:
        if head is not None and head not in HEADS:
            raise unknown_name("head", head, HEADS)
        return head

    @model_validator(mode="after")
    def _has_one_kind_of_range(self) -> Parameter:
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("give either choices, or low and high")
        if self.low is not None and self.high is not None:
            if self.low >= self.high:
                raise ValueError(f"low must be below high; got {self.low:g} and {self.high:g}")
            if self.log and (self.low <= 0 or self.step is not None):
                raise ValueError("log needs a low above 0, and no step")
            if self.integer and (self.unit or any(n % 1 for n in (self.low, self.high, self.step or 1))):
                raise ValueError("integer needs whole numbers for low, high and step, and no unit")
        return self

    @property
    def labels(self) -> list[Any]:
        """The choices as Optuna takes them."""
        return [_label(choice) for choice in self.choices]

    def active(self, chosen: Values) -> bool:
        """Whether its condition holds."""
        return not self.when or any(
            all(name in chosen and chosen[name] in wanted for name, wanted in case.items()) for case in self.when
        )

    def suggest(self, trial: Suggest) -> Any:
        """What the trial is to try."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.labels)
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def can_be(self, value: Any) -> bool:
        """Whether it ever has a value."""
        if self.choices:
            return value in self.labels
        return isinstance(value, int | float) and (self.low or 0.0) <= value <= (self.high or 0.0)

    def samples(self) -> list[Any]:
        """Values to check: all choices, or both ends of the range and a number between that is not whole."""
        if self.choices:
            return self.labels
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            return [int(self.low), int(self.high)]
        half = math.floor(self.low) + 0.5
        between = half if self.low < half < self.high else (self.low + self.high) / 2
        return [self.low, between if self.step is None else min(self.low + self.step, self.high), self.high]

    def place(self, value: Any) -> float:
        """Where a value lies between the ends of the range, in [0, 1]; choices at even distances."""
        if self.choices:
            return self.labels.index(value) / max(1, len(self.choices) - 1)
        assert self.low is not None
        assert self.high is not None
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    def setting(self, value: Any, leaves: Mapping[str, Any]) -> Any:
        """The setting that a value stands for."""
        if self.choices:
            return self.choices[self.labels.index(value)]
        if self.integer:
            return value
        scaled = float(value) * (float(leaves[self.unit]) if self.unit else 1.0)
        return float(f"{scaled:.{_DIGITS}g}")

    def value(self, setting: Any, leaves: Mapping[str, Any]) -> Any:
        """The value nearest to a setting."""
        if self.choices:
            label = _label(list(setting) if isinstance(setting, tuple) else setting)
            return label if label in self.labels else _label(_nearest(self.choices, setting))
        assert self.low is not None
        assert self.high is not None
        if setting is None:
            setting = self.low
        number = float(setting) / (float(leaves[self.unit]) if self.unit else 1.0)
        number = min(max(number, self.low), self.high)
        if self.step is not None:
            number = min(self.low + round((number - self.low) / self.step) * self.step, self.high)
        return round(number) if self.integer else number


class Space(Section):
    """Parameters in the order in which they are chosen: a condition may name what stands above it.

    Attributes:
        parameters: What is tried.
    """

    parameters: tuple[Parameter, ...]

    @model_validator(mode="after")
    def _names_fit(self) -> Space:
        known: dict[str, Parameter] = {}
        for parameter in self.parameters:
            if parameter.name in known:
                raise ValueError(f"{parameter.name!r} is declared twice: give one of them another name")
            unknown = {name for case in parameter.when for name in case} - known.keys()
            if unknown:
                raise ValueError(f"{parameter.name!r} depends on {sorted(unknown)}, which must be declared above it")
            for case in parameter.when:
                for name, wanted in case.items():
                    never = [value for value in wanted if not known[name].can_be(value)]
                    if never:
                        raise ValueError(f"{parameter.name!r} is for {name}={never[0]}, which {name} never is")
            known[parameter.name] = parameter
        return self

    def suggest(self, trial: Suggest) -> dict[str, Any]:
        """What a trial is to try, by name: of the parameters whose condition holds."""
        chosen: dict[str, Any] = {}
        for parameter in self._active(chosen):
            fixed = len(parameter.choices) == 1
            chosen[parameter.name] = _label(parameter.choices[0]) if fixed else parameter.suggest(trial)
        return chosen

    def settings(self, chosen: Values, config: Config) -> dict[str, Any]:
        """Dotted settings that the values of parameters stand for."""
        leaves = flat(config)
        settings: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in chosen:
                settings[parameter.key] = parameter.setting(chosen[parameter.name], leaves | settings)
        return settings

    def values(self, settings: Mapping[str, Any], config: Config) -> dict[str, Any]:
        """The point of the space that is nearest to some settings, and otherwise to the configuration.

        Returns:
            Values by name, those that are asked of a trial only.
        """
        leaves = flat(config) | dict(settings)
        chosen: dict[str, Any] = {}
        for parameter in self._active(chosen):
            chosen[parameter.name] = parameter.value(leaves[parameter.key], leaves)
        return {p.name: chosen[p.name] for p in self.parameters if p.name in chosen and len(p.choices) != 1}

    def of_heads(self, heads: Iterable[str]) -> Space:
        """Without the parameters of heads that a model lacks, and those that depend on them alone."""
        present = {None, *heads}
        kept: dict[str, Parameter] = {}
        for parameter in self.parameters:
            cases = tuple(case for case in parameter.when if case.keys() <= kept.keys())
            if parameter.head in present and (cases or not parameter.when):
                kept[parameter.name] = parameter.model_copy(update={"when": cases})
        return self.model_copy(update={"parameters": tuple(kept.values())})

    def narrowed(self, name: str, allowed: Collection[Any]) -> Space:
        """The same with only some of the choices of a parameter.

        Raises:
            UserError: it has no such parameter or choice.
        """
        found = [p for p in self.parameters if p.name == name]
        if not found:
            raise UserError(f"This search space does not ask for {name}, so that there is nothing to choose from.")
        known = found[0].choices
        for choice in allowed:
            if choice not in known:
                raise unknown_name(f"choice of {name} in this search space", str(choice), map(str, known))
        chosen = tuple(choice for choice in known if choice in set(allowed))
        parameters = (p.model_copy(update={"choices": chosen}) if p.name == name else p for p in self.parameters)
        # Not checked anew: conditions may name the other choices.
        return self.model_copy(update={"parameters": tuple(parameters)})

    def check(self, config: Config, section: str | None = None) -> None:
        """Refuse settings that do not exist, and bounds and choices that cannot be set.

        Args:
            config: What the settings are changed in.
            section: The one section that may be searched; None: any.

        Raises:
            UserError: the message names the parameter.
        """
        leaves = flat(config)
        for parameter in self.parameters:
            if parameter.key not in leaves:
                near = difflib.get_close_matches(parameter.key, leaves, n=1)
                hint = f", did you mean {near[0]!r}?" if near else "; `linegroup train --show-config` has all."
                raise UserError(f"The search space has {parameter.key!r}, which is no setting{hint}")
            if section is not None and parameter.key.split(".")[0] != section:
                raise UserError(f"The search space has {parameter.key}; only {section}.* can be searched here.")
            if parameter.unit is not None and not isinstance(leaves.get(parameter.unit), int | float):
                raise UserError(f"The unit of {parameter.name}, {parameter.unit}, is no setting that is a number.")
            for value in parameter.samples():
                try:
                    change(config, {parameter.key: parameter.setting(value, leaves)})
                except UserError as error:
                    whole = "valid integer" in str(error) and not parameter.choices
                    hint = ": say integer: true" if whole else ""
                    raise UserError(f"{str(error).rstrip('.')}{hint}.") from None

    def _active(self, chosen: Values) -> Iterable[Parameter]:
        """Those whose condition holds, while `chosen` is being filled."""
        return (parameter for parameter in self.parameters if parameter.active(chosen))


def change(config: Config, settings: Mapping[str, Any]) -> Config:
    """A copy with some dotted settings changed; what was set before stays marked as set.

    Raises:
        UserError: an unknown setting, or a value out of range.
    """
    tree: dict[str, Any] = config.model_dump(exclude_unset=True)
    for key, value in settings.items():
        *sections, leaf = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    return build_config(tree, where=", ".join(f"{key}={value}" for key, value in settings.items()))


def load_space(name: str | Path) -> Space:
    """A space from a YAML file, or the packaged one of that name.

    Raises:
        UserError: there is neither, or it is not a space.
    """
    path = Path(name)
    if not path.is_file():
        folder = Path(str(files("linegroup") / "recipes" / "spaces"))
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        if str(name) not in known:
            raise UserError(
                f"There is no search space file {name}, nor a packaged space of that name ({', '.join(known)})."
            )
        path = folder / f"{name}.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"Cannot read the search space {path}: {plainly(error)}.") from None
    if not isinstance(tree, dict) or not isinstance(tree.get("parameters"), list):
        raise UserError(
            f"{path} must hold a list of `parameters` (see docs/tuning.md); it is empty, or something else."
        )
    for number, parameter in enumerate(tree["parameters"], 1):
        _checked(Parameter, parameter, f"{path}, parameter {number}", Parameter(key="any", choices=(0,)))
    return _checked(Space, tree, str(path), Space(parameters=()))


def _checked(kind: type[T], tree: Any, where: str, known: Section) -> T:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        said = explain_settings(error, known).replace("Value error, ", "").removeprefix(": ")
        raise UserError(f"{where}: {said}") from None


def _label(choice: Any) -> Any:
    """A choice as Optuna takes it: lists and mappings as their JSON."""
    return choice if choice is None or isinstance(choice, bool | int | float | str) else json.dumps(choice)


def _nearest(choices: tuple[Any, ...], setting: Any) -> Any:
    def far(choice: Any) -> float:
        numbers = (choice, setting)
        if all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
            return abs(float(choice) - float(setting))
        return math.inf

    return min(choices, key=far)
