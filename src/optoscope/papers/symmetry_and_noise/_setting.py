"""What all parts of one reproduction share."""

from dataclasses import dataclass
from typing import Any

from optoscope import tasks
from optoscope.papers import _setting
from optoscope.papers.symmetry_and_noise._scales import Scale

BASELINES = ("momentum", "adam", "lion")
LEARNED = ("lstm", "rnn")
# The symmetry whose deviations are looked at on each of the paper's networks.
SYMMETRIES = {"leaky-relu": "rescale", "batch-norm": "scale", "sigmoid": "translation"}


@dataclass(frozen=True)
class Setting(_setting.Setting):
    """The setting of paper A."""

    scale: Scale

    def task(self, variant: str, network: str = "mlp", **options: Any) -> tasks.Classification:
        """The task of a variant ("sigmoid", "leaky-relu", "batch-norm", …).

        As nothing is held out for validation, an epoch of MNIST has the paper's 469 batches.

        Args:
            variant: the activation or normalisation.
            network: "mlp", or another of the registry's networks.
            options: of the task, such as `batch_size`, `hidden` or `standardize`.
        """
        options = self.data_options | options
        if self.scale.image_size is not None:
            options["size"] = self.scale.image_size
        task = tasks.get(f"{self.scale.dataset}-{network}-{variant}", **options)
        assert isinstance(task, tasks.Classification)
        return task

    def described(self, variant: str, network: str = "mlp", **values: Any) -> dict[str, Any]:
        """The configuration of a part on a task, for its description."""
        task = f"{self.scale.dataset}-{network}-{variant}"
        size = self.scale.image_size
        return {"task": task, "image_size": size, "seed": self.seed, **values}
