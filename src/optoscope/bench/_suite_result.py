"""What a suite found: losses of all trials, who is compared, and their scores."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope._core.errors import InvalidValueError, UnknownNameError
from optoscope._core.estimates import Estimate, nothing
from optoscope._core.files import write_json
from optoscope._core.inference import mean
from optoscope._core.records import save_records
from optoscope._core.showing import shown
from optoscope.bench._comparison import tuned_label
from optoscope.bench._entrants import Entrant, best_trials
from optoscope.bench._metrics import Metric
from optoscope.bench._relative import MEASURES, NOT_RECORDED, relative_loss
from optoscope.bench._scores import Scores, score, smoothed

FORMAT = "optoscope/suite"
VERSION = 1
REFERENCE = "adamw-cosine"
# AlgoPerf's: the target is what the best baseline reaches in three quarters of the run.
_TARGET_SHARE = 0.75
_CURVE_POINTS = 200
# For each of `MEASURES` and each task the loss of every run.
_Measured = Mapping[str, Mapping[str, Float[np.ndarray, " runs"]]]


@shown
@dataclass(frozen=True)
class SuiteResult:
    """The result of `suite`.

    Args:
        entrants: who took part, baselines first.
        losses: by label and task, before each step: (trials, runs, steps).
        seconds: by label and task, what the trials took, compilation included.
        num_steps: steps a run.
        num_runs: paired runs.
        seed: of the runs.
        descriptions: a line for each task of a suite.
        validation: by label and task, the loss on validation data at the end of the runs: (trials,
            runs). Tasks without such data are not there; what an earlier version computed without
            measuring it is NaN, and infinite what was not finite.
    """

    entrants: tuple[Entrant, ...]
    losses: Mapping[str, Mapping[str, Float[np.ndarray, "..."]]]
    seconds: Mapping[str, Mapping[str, float]]
    num_steps: int
    num_runs: int
    seed: int
    descriptions: Mapping[str, str] = field(default_factory=dict)
    validation: Mapping[str, Mapping[str, Float[np.ndarray, "trials runs"]]] = field(
        default_factory=dict
    )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(next(iter(self.losses.values())))

    @property
    def baselines(self) -> tuple[str, ...]:
        """The labels of who is tuned by a learning rate of its own and was not given."""
        return tuple(one.label for one in self.entrants if "baseline" in one.identity)

    @property
    def labels(self) -> tuple[str, ...]:
        """Who is compared: what was given twice, as it is and tuned, if it has further trials."""
        found: list[str] = []
        for one in self.entrants:
            found.append(one.label)
            if one.shipped is not None and one.num_trials > 1:
                found.append(tuned_label(one.label))
        return tuple(found)

    def chosen(self, label: str, task: str) -> np.ndarray:
        """The trial of each run of one who is compared."""
        entrant, tuned = self._entrant(label)
        if not tuned and entrant.shipped is not None:
            return np.full(self.num_runs, entrant.shipped)
        return best_trials(final_losses(self.losses[entrant.label][task]))

    def curves(self, label: str) -> dict[str, Float[np.ndarray, "runs steps"]]:
        """The losses of each run with the trial that is chosen for it, by task."""
        entrant, _ = self._entrant(label)
        return {
            task: self.losses[entrant.label][task][
                self.chosen(label, task), np.arange(self.num_runs)
            ]
            for task in self.tasks
        }

    def final(self, label: str) -> dict[str, Estimate]:
        """The mean training loss over the last tenth of the steps, by task; over runs."""
        return {
            task: mean(final_losses(losses), signed=bool((losses < 0).any()))
            for task, losses in self.curves(label).items()
        }

    def measured(self, label: str, measure: str) -> dict[str, Float[np.ndarray, " runs"]]:
        """One loss of each run with the trial that is chosen for it, by task.

        Args:
            label: of one who is compared.
            measure: "final", the mean training loss over the last tenth of the steps; "mean", that
                over all of them; or "validation", the loss on validation data at the end, for the
                tasks that have such data.

        Raises:
            UnknownNameError: no such measure.
            InvalidValueError: nobody is called so.
        """
        if measure not in MEASURES:
            raise UnknownNameError("measure", measure, MEASURES)
        if measure == "final":
            return {task: final_losses(losses) for task, losses in self.curves(label).items()}
        if measure == "mean":
            return {task: mean_losses(losses) for task, losses in self.curves(label).items()}
        entrant, _ = self._entrant(label)
        found = self.validation.get(entrant.label, {})
        runs = np.arange(self.num_runs)
        return {task: ends[self.chosen(label, task), runs] for task, ends in found.items()}

    def relative(self, label: str, against: str | None = None) -> dict[str, Estimate]:
        """How many times the losses of another one's are one's own, over all tasks.

        Args:
            label: of one who is compared.
            against: the other one, by default `reference`.

        Returns:
            For each measure of `measured` the geometric mean over the tasks, with its interval
            over paired runs.
        """
        return _relative(self._all_measured(label), self._all_measured(against or self.reference))

    def _all_measured(self, label: str) -> _Measured:
        return {measure: self.measured(label, measure) for measure in MEASURES}

    def targets(self) -> dict[str, float]:
        """For each task AlgoPerf's target: what the best baseline has after 3/4 of the steps.

        Math: the least, over the baselines with their chosen trials, of the median over runs of
        the smoothed loss.

        Raises:
            InvalidValueError: there is no baseline.
        """
        if not self.baselines:
            raise InvalidValueError("there is no baseline to take targets from; name at least one.")
        at = max(0, math.ceil(_TARGET_SHARE * self.num_steps) - 1)
        found: dict[str, list[float]] = {task: [] for task in self.tasks}
        for label in self.baselines:
            for task, losses in self.curves(label).items():
                found[task].append(float(np.median(smoothed(losses)[:, at])))
        return {task: min(values) for task, values in found.items()}

    def scores(self, reference: str | None = None) -> dict[str, Scores]:
        """The scores of all who are compared; see `bench.score`.

        Args:
            reference: whom Celo's scores compare with, by default "adamw-cosine", or the first
                baseline where that did not take part.

        Raises:
            InvalidValueError: there is no baseline, or the reference did not take part.
        """
        targets = self.targets()
        trials = {
            task: np.concatenate([self.losses[label][task] for label in self.baselines])
            for task in self.tasks
        }
        losses = {label: self.curves(label) for label in self.labels}
        return score(losses, reference or self.reference, targets=targets, trials=trials)

    @property
    def reference(self) -> str:
        """Whom Celo's scores compare with."""
        return REFERENCE if REFERENCE in self.baselines else self.baselines[0]

    def notes(self) -> tuple[str, ...]:
        """What has to be said beside the scores.

        Which targets and validation losses are missing, and which trials lie at an edge.
        """
        found = list(self._missing_validation())
        lost = [task for task, target in self.targets().items() if not math.isfinite(target)]
        if self.baselines and lost:
            found.append(
                f"every baseline diverged on {', '.join(lost)}, so that there is no target: all "
                "runs that do not diverge count as having reached it"
            )
        for label in self.labels:
            entrant, tuned = self._entrant(label)
            if entrant.shipped is not None and not tuned:
                continue
            edges = [
                task
                for task in self.tasks
                if any(entrant.at_edge(int(trial)) for trial in self.chosen(label, task))
            ]
            if edges:
                found.append(
                    f"{label}: the best trial of a run lies at an edge of what was tried on "
                    f"{', '.join(edges)}; more might be had there"
                )
        return tuple(found)

    def _missing_validation(self) -> Iterator[str]:
        """What has to be said about the tasks and cells that have no validation losses."""
        everyone = self.entrants[0].label
        without = [task for task in self.tasks if task not in self.validation.get(everyone, {})]
        if without:
            yield f"without validation data: {', '.join(without)}"
        earlier: dict[tuple[str, ...], list[str]] = {}
        for label, found in self.validation.items():
            places = tuple(task for task, ends in found.items() if np.isnan(ends).any())
            earlier.setdefault(places, []).append(label)
        for places, labels in earlier.items():
            if places:
                yield (
                    f"an earlier version computed {', '.join(labels)} on {', '.join(places)} "
                    "without validation losses; delete these folders in cells/ to have them"
                )

    def as_json(self) -> dict[str, Any]:
        """The content of `suite.json`."""
        scored = self.scores()
        measured = {label: self._all_measured(label) for label in self.labels}
        return {
            "format": FORMAT,
            "version": VERSION,
            "tasks": list(self.tasks),
            "descriptions": dict(self.descriptions),
            "num_steps": self.num_steps,
            "num_runs": self.num_runs,
            "num_trials": max(one.num_trials for one in self.entrants),
            "seed": self.seed,
            "reference": self.reference,
            "baselines": list(self.baselines),
            "targets": {
                task: target if math.isfinite(target) else None
                for task, target in self.targets().items()
            },
            "optimizers": {
                label: self._described(label, scored[label], measured) for label in self.labels
            },
            "notes": list(self.notes()),
        }

    def write(self, directory: Path) -> None:
        """Writes `suite.json` and the curves behind its figures, `records/suite.npz`."""
        places = np.unique(np.linspace(0, self.num_steps - 1, _CURVE_POINTS).astype(int))
        arrays: dict[str, np.ndarray] = {"steps": places + 1}
        for label in self.labels:
            for task, losses in self.curves(label).items():
                arrays[f"{label}/{task}"] = smoothed(losses)[:, places].astype(np.float32)
        save_records(directory, "suite", arrays)
        write_json(directory / "suite.json", self.as_json())

    def _described(
        self, label: str, scores: Scores, measured: Mapping[str, _Measured]
    ) -> dict[str, Any]:
        entrant, tuned = self._entrant(label)
        as_it_is = entrant.shipped is not None and not tuned
        seconds = self.seconds[entrant.label]
        steps = entrant.num_trials * self.num_runs * self.num_steps
        return {
            "baseline": label in self.baselines,
            "tuned": not as_it_is,
            "scores": scores.as_json(),
            "final_loss": {task: one.as_json() for task, one in self.final(label).items()},
            "validation_loss": {
                task: _recorded(ends).as_json()
                for task, ends in measured[label]["validation"].items()
            },
            "relative": {
                other: _as_json(_relative(measured[label], measured[other]))
                for other in self.labels
                if other != label
            },
            "ratios": {
                task: _as_json(_relative(measured[label], measured[self.reference], task))
                for task in self.tasks
            },
            "trials": {task: self._trial(label, task) for task in self.tasks},
            "milliseconds_per_step": {task: 1e3 * seconds[task] / steps for task in self.tasks},
            "seconds": sum(seconds.values()),
        }

    def _trial(self, label: str, task: str) -> str:
        """The trial that most runs have."""
        entrant, _ = self._entrant(label)
        return entrant.words(int(np.bincount(self.chosen(label, task)).argmax()))

    def _entrant(self, label: str) -> tuple[Entrant, bool]:
        """The entrant of a label, and whether the label is that of its tuned form."""
        for one in self.entrants:
            if label in (one.label, tuned_label(one.label)):
                return one, label != one.label
        raise InvalidValueError(f"{label!r} took no part; there are {', '.join(self.labels)}.")


def final_losses(losses: Float[np.ndarray, "*runs steps"]) -> Float[np.ndarray, "*runs"]:
    """The mean loss over the last tenth of the steps; infinite where a run diverged."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.asarray(Metric("final").of_losses(losses, losses.shape[-1]))
    return np.where(np.isfinite(losses).all(axis=-1), found, np.inf)


def mean_losses(losses: Float[np.ndarray, "*runs steps"]) -> Float[np.ndarray, "*runs"]:
    """The mean loss over all steps; infinite where a run diverged."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.asarray(losses, np.float64).mean(axis=-1)
    return np.where(np.isfinite(losses).all(axis=-1), found, np.inf)


def _relative(own: _Measured, other: _Measured, task: str | None = None) -> dict[str, Estimate]:
    """The ratios of two optimizers over all tasks, or on one, for each measure that it has."""
    found = {}
    for measure, mine in own.items():
        kept = {name: losses for name, losses in mine.items() if task in (None, name)}
        if task is None or kept:
            found[measure] = relative_loss(kept, other[measure])
    return found


def _recorded(losses: Float[np.ndarray, " runs"]) -> Estimate:
    """The mean over runs, or that it was not recorded."""
    return nothing(len(losses), NOT_RECORDED) if np.isnan(losses).any() else mean(losses)


def _as_json(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: one.as_json() for name, one in estimates.items()}
