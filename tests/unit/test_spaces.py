"""Search spaces: what is asked of a trial, what it means, and what is refused."""

from pathlib import Path

import optuna
import pytest

from linegroup.config import load_config
from linegroup.errors import UserError
from linegroup.tuning.importance import distribution, importances
from linegroup.tuning.spaces import Space, change, load_space
from linegroup.tuning.trials import Trial, best_of

CONFIG = load_config(None, ["model.heads=[embedding, foreground, crossing]", "loss.delta_d=2", "loss.delta_v=0.25"])
PACKAGED = sorted(path.stem for path in (Path(__file__).parents[2] / "linegroup" / "recipes" / "spaces").glob("*.yaml"))


def space(*parameters: dict) -> Space:
    return Space.model_validate({"parameters": parameters})


SMALL = space(
    {"key": "grouping.method", "choices": ["dbscan", "margin"]},
    {"key": "grouping.eps", "low": 0.1, "high": 1.0, "unit": "loss.delta_d", "when": {"grouping.method": "dbscan"}},
    {"key": "grouping.min_pixels", "low": 5, "high": 80, "integer": True, "when": {"grouping.method": ["margin"]}},
    {"key": "grouping.noise", "name": "noise of margin", "choices": ["drop"], "when": {"grouping.method": "margin"}},
    {"key": "augment.scale", "choices": [[1.0, 1.0], [0.5, 2.0]]},
)


METHOD = {"key": "grouping.method", "choices": ["dbscan", "margin"]}


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_spaces_fit_the_configuration(name):
    found = load_space(name)
    found.check(CONFIG, "grouping" if name == "grouping" else None)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        settings = found.settings(found.suggest(study.ask()), CONFIG)
        change(CONFIG, settings)
        assert found.settings(found.values(settings, CONFIG), CONFIG).keys() <= settings.keys()


def test_there_are_packaged_spaces():
    assert PACKAGED == ["grouping", "small", "training"]


def test_conditions_decide_what_is_asked():
    wide, none = {"augment.scale": "[0.5, 2.0]"}, {"augment.scale": "[1.0, 1.0]"}
    dbscan = {"grouping.method": "dbscan", "grouping.eps": 0.5, **wide}
    assert SMALL.suggest(optuna.trial.FixedTrial(dbscan)) == dbscan
    margin = {"grouping.method": "margin", "grouping.min_pixels": 7, **none}
    assert SMALL.suggest(optuna.trial.FixedTrial(margin)) == {**margin, "noise of margin": "drop"}


def test_values_become_settings_in_their_unit():
    settings = SMALL.settings(
        {"grouping.method": "dbscan", "grouping.eps": 0.33333, "augment.scale": "[0.5, 2.0]"}, CONFIG
    )
    assert settings == {"grouping.method": "dbscan", "grouping.eps": 0.6667, "augment.scale": [0.5, 2.0]}
    changed = change(CONFIG, settings)
    assert changed.grouping.eps == 0.6667
    assert changed.augment.scale == (0.5, 2.0)
    assert changed.loss == CONFIG.loss


def test_a_unit_may_be_searched_itself():
    both = space(
        {"key": "loss.delta_d", "low": 1.0, "high": 3.0},
        {"key": "grouping.eps", "low": 0.1, "high": 1.0, "unit": "loss.delta_d"},
    )
    assert both.settings({"loss.delta_d": 3.0, "grouping.eps": 0.5}, CONFIG)["grouping.eps"] == 1.5
    assert both.values({"loss.delta_d": 3.0, "grouping.eps": 1.5}, CONFIG)["grouping.eps"] == 0.5


def test_the_nearest_point_to_a_configuration():
    config = change(CONFIG, {"grouping.method": "dbscan", "grouping.eps": 50.0, "augment.scale": [0.7, 1.4]})
    values = SMALL.values({}, config)
    assert values == {"grouping.method": "dbscan", "grouping.eps": 1.0, "augment.scale": "[1.0, 1.0]"}
    assert SMALL.values({"grouping.method": "margin", "grouping.min_pixels": 3}, config)["grouping.min_pixels"] == 5
    steps = space({"key": "grouping.foreground_threshold", "low": 0.1, "high": 0.9, "step": 0.1})
    assert steps.values({"grouping.foreground_threshold": 0.47}, CONFIG) == {
        "grouping.foreground_threshold": pytest.approx(0.5)
    }


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ([{"key": "grouping.eps"}], "choices, or low and high"),
        ([{"key": "grouping.eps", "low": 1, "high": 1}], "low must be below high"),
        ([{"key": "grouping.eps", "low": 0, "high": 1, "log": True}], "above 0"),
        ([{"key": "grouping.eps", "choices": [1]}, {"key": "grouping.eps", "choices": [2]}], "declared twice"),
        ([{"key": "grouping.eps", "choices": [1], "when": {"grouping.method": "link"}}], "must be declared above"),
        ([{"key": "grouping.eps", "lower": 1, "high": 2}], "lower"),
        ([{"key": "grouping.eps", "lo": 1, "high": 2}], r"parameter 1: unknown key 'lo', did you mean 'low'"),
        ([{"key": "grouping.eps", "low": 1, "high": 2, "step": -1}], "step: Input should be greater than 0"),
        ([{"key": "grouping.min_pixels", "low": 5, "high": 9, "integer": True, "step": 1.5}], "whole numbers"),
        ([{"key": "grouping.eps", "low": 1, "high": 9, "integer": True, "unit": "loss.delta_d"}], "no unit"),
        ([{"key": "grouping.eps", "choices": [1], "head": "foregruond"}], "head: Unknown head .* mean 'foreground'"),
        (
            [METHOD, {"key": "grouping.eps", "choices": [1], "when": {"grouping.method": ["dbscan", "dbscn"]}}],
            "is for grouping.method=dbscn, which grouping.method never is",
        ),
    ],
)
def test_spaces_that_make_no_sense(tmp_path, parameters, said):
    import yaml

    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"parameters": parameters}))
    with pytest.raises(UserError, match=said):
        load_space(tmp_path / "space.yaml")


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ({"key": "grouping.epz", "choices": [1, 2]}, "grouping.eps"),
        ({"key": "grouping.noise", "choices": ["drop", "keep"]}, "grouping.noise"),
        ({"key": "grouping.eps", "low": -1, "high": 1}, "greater than 0"),
        ({"key": "grouping.eps", "low": 0.1, "high": 1, "unit": "grouping.noise"}, "no setting that is a number"),
        ({"key": "training.lr", "low": 0.1, "high": 1}, r"only grouping\.\*"),
        ({"key": "grouping.min_pixels", "low": 5, "high": 80}, "valid integer.*: say integer: true"),
        ({"key": "grouping.min_pixels", "low": 5, "high": 80, "step": 2.5}, "say integer: true"),
        ({"key": "grouping.eps", "low": -0.1, "high": 1, "unit": "loss.delta_d"}, r"eps=-0\.2.*greater than 0"),
        ({"key": "zzz", "low": 1, "high": 2}, "no setting; `linegroup train --show-config` has all"),
    ],
)
def test_spaces_that_do_not_fit(parameter, said):
    with pytest.raises(UserError, match=said):
        space(parameter).check(CONFIG, "grouping")


def test_whole_numbers_in_steps():
    one = space({"key": "grouping.min_pixels", "low": 5, "high": 45, "integer": True, "step": 10})
    one.check(CONFIG, "grouping")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert {one.suggest(study.ask())["grouping.min_pixels"] for _ in range(60)} == {5, 15, 25, 35, 45}
    assert distribution(one.parameters[0]) == optuna.distributions.IntDistribution(5, 45, step=10)
    assert one.values({"grouping.min_pixels": 22}, CONFIG) == {"grouping.min_pixels": 25}


@pytest.mark.parametrize("text", ["", "[1, 2]", "parameters: {a: 1}"])
def test_a_file_that_is_no_space(tmp_path, text):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(UserError, match="must hold a list of `parameters`"):
        load_space(tmp_path / "space.yaml")


def test_what_depends_on_a_head_goes_with_it():
    both = space(
        {"key": "grouping.candidates", "choices": ["model", "non_background"], "head": "foreground"},
        {"key": "grouping.foreground_threshold", "low": 0.1, "high": 0.9, "when": {"grouping.candidates": "model"}},
    )
    assert both.of_heads(["embedding"]).parameters == ()
    assert both.of_heads(["foreground"]) == both


def test_unknown_space_names_the_packaged_ones():
    with pytest.raises(UserError, match="grouping, small, training"):
        load_space("groping")


def test_only_what_a_model_has_is_asked():
    packaged = load_space("grouping")
    assert any(p.key == "grouping.crossing_threshold" for p in packaged.of_heads(CONFIG.model.heads).parameters)
    assert not any(p.head for p in packaged.of_heads(["embedding"]).parameters)


def test_narrowed_to_some_methods():
    assert SMALL.narrowed("grouping.method", ["margin"]).parameters[0].choices == ("margin",)
    with pytest.raises(UserError, match="dbscan, margin"):
        SMALL.narrowed("grouping.method", ["link"])
    with pytest.raises(UserError, match=r"does not ask for grouping\.method"):
        space({"key": "grouping.eps", "low": 0.1, "high": 1.0}).narrowed("grouping.method", ["link"])


def test_places_lie_between_the_ends():
    log = load_space("grouping").of_heads(()).parameters
    eps = next(p for p in log if p.key == "grouping.eps")
    assert eps.place(eps.low) == 0
    assert eps.place(eps.high) == pytest.approx(1)
    assert eps.place((eps.low * eps.high) ** 0.5) == pytest.approx(0.5)


def test_what_mattered_is_found():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    one = space(
        {"key": "grouping.eps", "low": 0.1, "high": 1.0},
        {"key": "grouping.min_samples", "low": 0.001, "high": 0.1, "log": True},
        {"key": "grouping.margin", "low": 0.1, "high": 1.0, "when": {"grouping.eps": 1.0}},
    )
    trials = []
    for number in range(60):
        values = one.suggest(study.ask())
        trials.append(Trial(number, "complete", -abs(values["grouping.eps"] - 0.5), 1, 0.0, values))
    shares = importances(one, trials)
    assert shares["grouping.eps"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    assert "grouping.margin" not in shares
    assert importances(one, trials[:5]) == {}


def test_distributions_are_those_that_are_asked():
    for name in PACKAGED:
        # A study of its own: two spaces may name one parameter.
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
        known = {p.name: distribution(p) for p in load_space(name).parameters}
        trial = study.ask()
        load_space(name).suggest(trial)
        for parameter, asked in trial.distributions.items():
            assert known[parameter] == asked


def test_the_best_is_the_first_of_the_complete():
    trials = [
        Trial(0, "complete", 0.5, 4, 0.0),
        Trial(1, "stopped", 0.9, 2, 0.0),
        Trial(2, "failed", None, 0, 0.0),
        Trial(3, "complete", 0.6, 4, 0.0),
        Trial(4, "complete", 0.6, 4, 0.0),
    ]
    assert best_of(trials).number == 3
    assert best_of(trials[1:3]).number == 1
