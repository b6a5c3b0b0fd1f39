"""The setting that all parts of one reproduction share."""

from dataclasses import dataclass
from typing import Any

from optoscope import tasks
from optoscope.papers import _recipe
from optoscope.papers.symmetry_and_noise._scales import SYMMETRIES, Scale

BASELINES = ("momentum", "adam", "lion")
LEARNED = ("lstm", "rnn")

__all__ = ["BASELINES", "LEARNED", "SYMMETRIES", "Setting"]


@dataclass(frozen=True)
class Setting(_recipe.Setting[Scale]):
    """The setting of paper A, whose networks are more than those of meta-training."""

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
