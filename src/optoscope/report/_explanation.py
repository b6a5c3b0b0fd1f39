"""The record of `optoscope explain`."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optoscope._core.errors import FileFormatError
from optoscope._core.estimates import Estimate
from optoscope._core.showing import shown
from optoscope.report._checks import (
    as_estimate,
    as_format,
    as_integer,
    as_mapping,
    as_number,
    as_sequence,
)

EXPLANATION_FORMAT = "optoscope/explanation"
EXPLANATION_VERSION = 3


@dataclass(frozen=True)
class Worth:
    """The mean loss of an optimizer and its gain over the baseline.

    Args:
        loss: mean over a run's steps, geometric mean over runs (arithmetic where a loss is
            negative).
        gain: the logarithm of the baseline's loss over that, mean over paired runs (their
            difference where a loss is negative).
        share: of the learned optimizer's gain, a fraction.
        kept: the same with its interval; None in records of older versions.

    """

    loss: float
    gain: Estimate
    share: float
    kept: Estimate | None = None


@dataclass(frozen=True)
class Mode:
    """An eigenmode of the learned optimizer at its fixed point; complex ones come in pairs."""

    timescale: complex
    learning_rate: complex
    share: float


@shown
@dataclass(frozen=True)
class Explanation:
    """The content of `explanation.json`.

    Args:
        optimizer: what was explained.
        task: its name.
        baseline: tuned values of momentum, by name.
        num_steps: steps per run.
        num_runs: fresh problems.
        wanted: the share of the gain that was to be kept.
        num_modes: modes kept.
        mechanisms: what is on beside momentum.
        sufficient: whether the wanted share was reached when the mechanisms were chosen.
        gains: by the names of `analysis.dynamics.Distillation.gains`.
        modes: the one with the largest share first.
        source: the program.
        costs: for each part the gain that is lost where it is switched off; empty in records of
            older versions.
        formula: the update rule as a short formula.
        explained: the share of squared updates that it explains on other trajectories.
        baseline_name: what the gain is measured against, in words.
        remaining: the share of squared updates that the program leaves, and where.

    """

    optimizer: str
    task: str
    baseline: Mapping[str, float]
    num_steps: int
    num_runs: int
    wanted: float
    num_modes: int
    mechanisms: tuple[str, ...]
    sufficient: bool
    gains: Mapping[str, Worth]
    modes: tuple[Mode, ...]
    source: str
    costs: Mapping[str, Estimate] = field(default_factory=dict)
    formula: str = ""
    explained: float = math.nan
    baseline_name: str = "tuned momentum"
    remaining: Mapping[str, float] = field(default_factory=dict)

    @property
    def established(self) -> tuple[str, ...] | None:
        """The parts that cost something, beyond the interval, where they are switched off.

        None for a record that does not say what they cost.
        """
        if not self.costs:
            return None
        return tuple(name for name, cost in self.costs.items() if cost.has_ends and cost.low > 0)

    @classmethod
    def from_json(cls, value: Any) -> "Explanation":
        """Checks and converts the content of `explanation.json`.

        Raises:
            FileFormatError: it is something else, is from a newer version, or is damaged.

        """
        fields = as_format(value, EXPLANATION_FORMAT, EXPLANATION_VERSION)
        gains = as_mapping(fields.get("gains"), "'gains'")
        missing = {"learned", "baseline", "distilled"} - set(gains)
        if missing:
            raise FileFormatError(f"'gains' lacks {', '.join(sorted(missing))}")
        baseline = as_mapping(fields.get("baseline"), "'baseline'")
        return cls(
            optimizer=str(fields.get("optimizer", "")),
            task=str(fields.get("task", "")),
            baseline={name: as_number(number, repr(name)) for name, number in baseline.items()},
            num_steps=as_integer(fields.get("num_steps"), "'num_steps'"),
            num_runs=as_integer(fields.get("num_runs"), "'num_runs'"),
            wanted=as_number(fields.get("wanted"), "'wanted'"),
            num_modes=as_integer(fields.get("num_modes"), "'num_modes'"),
            mechanisms=tuple(
                str(name) for name in as_sequence(fields.get("mechanisms"), "'mechanisms'")
            ),
            sufficient=bool(fields.get("sufficient")),
            gains={name: _worth(entry) for name, entry in gains.items()},
            modes=tuple(_mode(entry) for entry in as_sequence(fields.get("modes"), "'modes'")),
            source=str(fields.get("source", "")),
            costs={
                name: as_estimate(cost, "a cost")
                for name, cost in as_mapping(fields.get("costs", {}), "'costs'").items()
            },
            formula=str(fields.get("formula", "")),
            explained=_number_or_nan(fields.get("explained"), "'explained'"),
            baseline_name=str(fields.get("baseline_name", "tuned momentum")),
            remaining={
                name: _number_or_nan(value, "'remaining'")
                for name, value in as_mapping(fields.get("remaining", {}), "'remaining'").items()
            },
        )

    def as_json(self) -> dict[str, Any]:
        """The content of `explanation.json`, which `from_json` reads."""
        fields = dataclasses.asdict(self)
        for mode in fields["modes"]:
            for name in ("timescale", "learning_rate"):
                mode[name] = [mode[name].real, mode[name].imag]
        for name, worth in self.gains.items():
            fields["gains"][name]["gain"] = worth.gain.as_json()
            fields["gains"][name]["kept"] = worth.kept.as_json() if worth.kept else None
        fields["costs"] = {name: cost.as_json() for name, cost in self.costs.items()}
        fields["remaining"] = {
            name: value if math.isfinite(value) else None for name, value in self.remaining.items()
        }
        fields["explained"] = self.explained if math.isfinite(self.explained) else None
        return {"format": EXPLANATION_FORMAT, "version": EXPLANATION_VERSION, **fields}


def _number_or_nan(value: Any, name: str) -> float:
    return math.nan if value is None else as_number(value, name)


def _worth(entry: Any) -> Worth:
    fields = as_mapping(entry, "a gain")
    loss, share = (as_number(fields.get(name), repr(name)) for name in ("loss", "share"))
    gain = fields.get("gain")
    if not isinstance(gain, Mapping):
        # Version 1: a mean over runs and its standard error.
        mean, error = (as_number(fields.get(n), repr(n)) for n in ("gain", "standard_error"))
        method = "mean, two standard errors"
        return Worth(loss, Estimate(mean, mean - 2 * error, mean + 2 * error, 0, method), share)
    kept = fields.get("kept")
    return Worth(
        loss,
        as_estimate(gain, "'gain'"),
        share,
        as_estimate(kept, "'kept'") if isinstance(kept, Mapping) else None,
    )


def _mode(entry: Any) -> Mode:
    fields = as_mapping(entry, "a mode")
    numbers = []
    for name in ("timescale", "learning_rate"):
        parts = [as_number(part, repr(name)) for part in as_sequence(fields.get(name), repr(name))]
        if len(parts) != 2:
            raise FileFormatError(f"{name!r} of a mode has {len(parts)} parts, not 2")
        numbers.append(complex(*parts))
    return Mode(*numbers, share=as_number(fields.get("share"), "'share'"))
