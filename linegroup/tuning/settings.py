"""How a search is done."""

from __future__ import annotations

from pydantic import Field as Setting

from linegroup.config import Section


class DecoderSettings(Section):
    """The search for a grouping, on charts whose maps are known."""

    trials: int = Setting(50, ge=1, description="Settings that are tried, the present one included.")
    charts: int = Setting(24, ge=0, description="Validation charts, at even distances; 0: all.")
    holdout: float = Setting(0.5, ge=0, lt=1, description="Share of them, by document, that only measures the gain.")
    objective: str = Setting("ari", description="ari, line_f1, or their mean: ari_line_f1.")
    space: str = Setting("grouping", description="A packaged search space, or a YAML file.")
    methods: tuple[str, ...] = Setting((), description="Groupers to try; default: those of the space.")
    patience: float = Setting(1.0, gt=0, description="Standard errors behind the best at which a trial is stopped.")
    caution: float = Setting(1.0, ge=0, description="Standard errors ahead at which the present one is replaced.")
    seed: int = Setting(0, ge=0, lt=2**32)
    workers: int = Setting(0, ge=0, description="Processes; 0: one for each core that this process may use.")


class SearchSettings(Section):
    """The search for a whole method: networks are trained, and each is judged with the best grouping for it."""

    out: str = Setting("runs/search", description="Folder: trials, table, picture, the best model; on a shared disk.")
    space: str = Setting("training", description="A packaged search space, or a YAML file.")
    trials: int = Setting(12, ge=1, description="Trainings, that of the configuration as it is included.")
    concurrent: int = Setting(
        0, ge=0, description="Trainings at a time at most; 0: as many as there are resources for."
    )
    cpus: float = Setting(1.0, gt=0, description="CPUs of a training.")
    gpus: float | None = Setting(
        None, ge=0, description="GPUs of a training; null: 1 where a machine that is there has some."
    )
    grace: float = Setting(0.2, gt=0, le=1, description="Share of its length that every training gets.")
    reduction: float = Setting(3.0, gt=1, description="At each rung the best one in so many goes on (ASHA).")
    charts: int = Setting(12, ge=0, description="Validation charts that a training is judged on; 0: all.")
    objective: str = Setting("ari", description="ari, line_f1, or their mean: ari_line_f1.")
    grouping_space: str = Setting("grouping", description="Search space of the grouping.")
    grouping_trials: int = Setting(12, ge=1, description="Groupings that are tried each time a training is judged.")
    final_trials: int = Setting(50, ge=1, description="Groupings that are tried for the best training, at the end.")
    final_charts: int = Setting(32, ge=0, description="Validation charts for that, half of them held out; 0: all.")
    max_failures: int = Setting(1, ge=0, description="Deaths of a training after which it goes on where it stood.")
    seed: int = Setting(0, ge=0, lt=2**32)
