"""Promotion with a gate: a model takes the alias only where it is not clearly worse than the one that has it.

Both are scored on the same frozen charts; the rule is `GateConfig`. Everything is noted in the registry, with
the version: who, when, on what data, the scores, and why the gate was passed by. So a promotion can be undone
by name alone (`rollback`).
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, field_validator, model_validator
from pydantic import Field as Setting

from linegroup.comparison import Comparison, compare_models, open_frozen
from linegroup.config import Section, TrackingConfig, checked_section, settings_tree
from linegroup.errors import UserError
from linegroup.evaluation import Progress
from linegroup.gate import GateConfig, Verdict, judge
from linegroup.training import registry

PROMOTED, ROLLED_BACK = "promote", "rollback"
"""Actions in the registry's notes."""

_NOTED_REASONS = 12


class PromotionJob(Section):
    """What is to be promoted, and how it is judged."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: str = Setting("linegroup", description="Model in the registry.")
    version: str = Setting(description="Number of the version.")
    alias: str = registry.CHAMPION
    data: str | None = Setting(None, description="Shard folder, or a generated source such as synth:validation.")
    split: str = Setting("val", description="Of a shard folder.")
    limit: int = Setting(0, ge=0, description="Only so many charts, at even distances; 0: all.")
    device: str = "auto"
    overrides: tuple[str, ...] = Setting((), description="data.key=value: how the truth is drawn.")
    gate: GateConfig = GateConfig()
    force: str | None = Setting(None, description="Promote although the gate refuses: the reason.")
    no_gate: str | None = Setting(None, description="Promote without comparing: the reason.")

    @field_validator("version")
    @classmethod
    def _is_number(cls, version: str) -> str:
        if not version.isdecimal():
            raise ValueError(f"versions are numbers; got {version!r}")
        return str(int(version))

    @field_validator("alias")
    @classmethod
    def _can_be_named(cls, alias: str) -> str:
        registry.check_alias(alias)
        return alias

    @model_validator(mode="after")
    def _gate_or_reason(self) -> PromotionJob:
        if self.force is not None and self.no_gate is not None:
            raise ValueError("force and no_gate exclude each other")
        if not all(reason is None or reason.strip() for reason in (self.force, self.no_gate)):
            raise ValueError("say why: the reason is noted in the registry")
        if self.data is None and self.no_gate is None:
            raise ValueError(
                "say on which charts it is compared with the model in use, --data SHARDS or --data synth:validation; or"
                " promote it unseen, with --no-gate REASON"
            )
        return self


@dataclass(frozen=True, eq=False)
class Promotion:
    """What `promote_model` did.

    Attributes:
        job: What was asked for.
        promoted: Whether the version has the alias now.
        changed: Whether it had not before.
        before: Version that had the alias.
        comparison: With the model that had the alias, or the baseline; None where none was made.
        verdict: Of the gate; None where it was not asked.
    """

    job: PromotionJob
    promoted: bool
    changed: bool
    before: str | None
    comparison: Comparison | None = None
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        gate = self.job.gate
        return {
            "name": self.job.name,
            "version": self.job.version,
            "alias": self.job.alias,
            "before": self.before,
            "promoted": self.promoted,
            "changed": self.changed,
            "passed": None if self.verdict is None else self.verdict.passed,
            "reasons": [] if self.verdict is None else list(self.verdict.reasons),
            "forced": self.job.force or self.job.no_gate,
            "gate": gate.model_dump(mode="json"),
            "comparison": self.comparison
            and self.comparison.to_json(gate.metrics, gate.level, gate.seed, gate.tag_pictures),
        }


def load_promotion(recipe: Path | None, rule: Sequence[str], flags: Mapping[str, Any]) -> PromotionJob:
    """A job from a YAML file; `gate.key=value` of `rule` and flags that are not None win.

    Raises:
        UserError: the file is no mapping, a name is unknown, a value out of range or missing.
    """
    tree = settings_tree(recipe, rule)
    tree |= {name: value for name, value in flags.items() if value is not None}
    return checked_section(PromotionJob, tree, PromotionJob(version="1", no_gate="to know the names"), "Promotion")


def promote_model(
    job: PromotionJob,
    *,
    tracking: TrackingConfig | None = None,
    by: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Promotion:
    """Compare a version with the one that has the alias, and give it the alias unless the gate refuses.

    Where nothing has the alias yet, it is compared with `gate.baseline`. A version that has it already keeps it,
    and nothing is done.

    Args:
        job: What is asked for.
        tracking: Where the registry is.
        by: Who asks; default: the user of this process.
        progress: Called with the number of charts done and their total.

    Raises:
        UserError: no such version or data, too few charts to decide anything (unless it is forced), a damaged model, or
            another one got the alias meanwhile.
    """
    before = registry.version_of(job.name, job.alias, tracking)
    if before == job.version:
        return Promotion(job, promoted=True, changed=False, before=before)
    comparison = verdict = None
    if job.data is not None and job.no_gate is None:
        comparison = _compared(job, job.data, before, tracking, progress)
        verdict = judge(comparison, job.gate)
        if not verdict.passed and job.force is None:
            return Promotion(job, promoted=False, changed=False, before=before, comparison=comparison, verdict=verdict)
    promotion = Promotion(job, promoted=True, changed=True, before=before, comparison=comparison, verdict=verdict)
    registry.promote(
        job.name, job.version, job.alias, tracking, _entry(promotion, by), expected=registry.Holder(before)
    )
    return promotion


def _compared(
    job: PromotionJob, data: str, before: str | None, tracking: TrackingConfig | None, progress: Progress
) -> Comparison:
    """The version beside the one that has the alias, or the baseline."""
    documents = open_frozen(data, job.split, job.limit).documents
    if documents < job.gate.pictures and job.force is None:
        raise UserError(
            f"{data} has charts of {documents} documents, and the gate decides nothing on fewer than"
            f" {job.gate.pictures}: give more charts (--data, --limit), or lower gate.pictures."
        )
    candidate = f"models:/{job.name}/{job.version}"
    champion = f"models:/{job.name}/{before}" if before else job.gate.baseline
    try:
        return compare_models(
            candidate,
            champion,
            data,
            split=job.split,
            limit=job.limit,
            overrides=job.overrides,
            device=job.device,
            tracking=tracking,
            progress=progress,
        )
    except UserError as error:
        if before is None or _loads(champion, tracking) or not _loads(candidate, tracking):
            raise
        raise UserError(
            f"{error} That is {champion}, the model in use: to promote version {job.version} without comparing, give"
            " --no-gate REASON."
        ) from None


def _loads(reference: str, tracking: TrackingConfig | None) -> bool:
    """Whether a model is there, and whole."""
    try:
        registry.show_model(reference, tracking)
    except UserError:
        return False
    return True


def rollback(
    name: str,
    alias: str = registry.CHAMPION,
    reason: str = "",
    *,
    tracking: TrackingConfig | None = None,
    by: str | None = None,
) -> dict[str, Any]:
    """Give the alias back to the version that had it before; once more goes further back.

    Returns:
        name, version, alias, before.

    Raises:
        UserError: no such model, nothing has the alias, none is known to have had it before, that is damaged, or
            another version got the alias meanwhile.
    """
    current = registry.version_of(name, alias, tracking)
    if current is None:
        raise UserError(f"models:/{name}@{alias} is no version: there is nothing to roll back.")
    *earlier, _ = holders(history(name, alias, tracking), current)
    if not earlier:
        raise UserError(
            f"No version is known to have been models:/{name}@{alias} before version {current}. Promote the one you"
            f" want: linegroup models promote {name} VERSION --no-gate REASON."
        )
    entry = {**_who(by), "action": ROLLED_BACK, "alias": alias, "version": earlier[-1], "before": current}
    entry["reason"] = reason
    return registry.promote(name, earlier[-1], alias, tracking, entry, expected=registry.Holder(current))


def history(name: str, alias: str = registry.CHAMPION, tracking: TrackingConfig | None = None) -> list[dict[str, Any]]:
    """What is noted of an alias, oldest first: promotions and rollbacks, as `promote_model` and `rollback` wrote them.

    Raises:
        UserError: there is no such model.
    """
    return [entry for entry in registry.entries(name, tracking) if entry["alias"] == alias]


def holders(entries: Sequence[dict[str, Any]], current: str) -> list[str]:
    """The versions that a rollback goes back through, oldest first, the current one last.

    The registry has the last word on which version is current: an alias that was moved by hand, or a promotion
    that was cut off before it moved, is taken as it stands.
    """
    stack: list[str] = []
    for entry in entries:
        before, version = entry["before"], entry["version"]
        if before is None:
            # Nothing had the alias then: what was noted earlier never came to be, or was taken away by hand.
            stack.clear()
        else:
            _settle(stack, before)
        if entry["action"] == ROLLED_BACK:
            _settle(stack, version)
        else:
            stack.append(version)
    _settle(stack, current)
    return stack


def _settle(stack: list[str], current: str) -> None:
    """Make `current` the top: what stands above it was taken back; where it is unknown, it came by hand."""
    if current not in stack:
        stack.append(current)
    while stack[-1] != current:
        stack.pop()


def _entry(promotion: Promotion, by: str | None) -> dict[str, Any]:
    """What is noted in the registry: small, whatever the number of charts and tags."""
    job, comparison, verdict = promotion.job, promotion.comparison, promotion.verdict
    entry: dict[str, Any] = {
        **_who(by),
        "action": PROMOTED,
        "alias": job.alias,
        "version": job.version,
        "before": promotion.before,
        "gate": "not asked" if verdict is None else "passed" if verdict.passed else "refused, forced",
        "reason": job.no_gate or job.force or "",
    }
    if comparison is not None and verdict is not None:
        plain = comparison.to_json(job.gate.metrics, job.gate.level, job.gate.seed, job.gate.tag_pictures)
        entry |= {
            "against": plain["champion"],
            "data": plain["data"],
            "scores": plain["overall"],
            "reasons": list(verdict.reasons[:_NOTED_REASONS]),
        }
    return entry


def _who(by: str | None) -> dict[str, str]:
    return {"when": datetime.now(UTC).isoformat(timespec="seconds"), "by": by or _user()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a number without a name
        return "unknown"
