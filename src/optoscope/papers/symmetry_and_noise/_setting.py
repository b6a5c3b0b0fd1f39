"""The setting that all parts of one reproduction share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optoscope import tasks
from optoscope.optimizers import Optimizer
from optoscope.papers import _recipe, published
from optoscope.papers._recipe import Recipe
from optoscope.papers.symmetry_and_noise._scales import (
    GRU,
    LSTM,
    PUBLISHED,
    SYMMETRIES,
    Kind,
    Scale,
)

BASELINES = ("momentum", "adam", "lion")
# LSTM optimizers by the paper's own protocol, where the scale makes its own in another way.
PRINTED = "printed"
LEARNED = ("lstm", "rnn", PRINTED)
# What may stand beside the scale's own optimizers.
GUESTS = (PRINTED, *PUBLISHED)

__all__ = ["BASELINES", "GUESTS", "LEARNED", "PRINTED", "PUBLISHED", "SYMMETRIES", "Setting"]


@dataclass(frozen=True)
class Setting(_recipe.Setting[Scale]):
    """The setting of paper A, whose networks are more than those of meta-training."""

    def recipe(self, name: str, kind: str = "lstm") -> Recipe:
        """The numbers by which a kind of learned optimizer is meta-trained on a network."""
        return self.scale.printed[name] if kind == PRINTED else super().recipe(name)

    def kind(self, name: str) -> Kind:
        """A kind of learned optimizer, by its name in `LEARNED`."""
        return {"lstm": self.scale.lstm, "rnn": GRU, PRINTED: LSTM}[name]

    def penalty_seeds(self, name: str) -> int:
        """How many optimizers of each strength of the penalty are meta-trained on a network."""
        seeds = self.recipe(name).meta_seeds
        return min(seeds, self.scale.penalty_seeds or seeds)

    def guests(self, network: str) -> tuple[str, ...]:
        """Those of `GUESTS` that stand beside the scale's own optimizers on a network."""
        asked = self.scale.published
        found = tuple(name for name in asked if self._weights.find(name) is not None)
        return ((PRINTED,) if network in self.scale.printed else ()) + found

    @property
    def _weights(self) -> published.Setting:
        # It knows where published weights lie; nothing of its scale is used.
        return published.Setting(published.SCALES["paper"], self.seed, self.data_dir)

    def missing_words(self) -> tuple[str, ...]:
        """For each published optimizer that is left out, where to put its weights."""
        return self._weights.missing_words(self.scale.published)

    def published(self, name: str) -> Optimizer:
        """An optimizer of `PUBLISHED`, with its weights."""
        return self._weights.load(name, 1)

    def weights_described(self, name: str) -> Mapping[str, Any]:
        """What to say of such an optimizer in the description of a part."""
        return {"weights": {name: self._weights.digest(name)}}

    def task(self, name: str, network: str = "mlp", **options: Any) -> tasks.Classification:
        """The task of a variant ("sigmoid", "leaky-relu", "batch-norm", …).

        As nothing is held out for validation, an epoch of MNIST has the paper's 469 batches.

        Args:
            name: the activation or normalization.
            network: "mlp", or another of the registry's networks.
            options: of the task, such as `batch_size`, `hidden` or `standardize`.
        """
        options = self.data_options | options
        if self.scale.image_size is not None:
            options["size"] = self.scale.image_size
        task = tasks.get(f"{self.scale.dataset}-{network}-{name}", **options)
        assert isinstance(task, tasks.Classification)
        return task

    def described(self, name: str, network: str = "mlp", **values: Any) -> dict[str, Any]:
        """The configuration of a part on a task, for its description."""
        task = f"{self.scale.dataset}-{network}-{name}"
        size = self.scale.image_size
        return {"task": task, "image_size": size, "seed": self.seed, **values}
