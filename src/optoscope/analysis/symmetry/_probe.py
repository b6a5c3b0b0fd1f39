"""The probe of symmetry deviations."""

from collections.abc import Mapping

from optoscope._core.drawings import Drawing, ProbeText
from optoscope.analysis.symmetry._declared_or_found import declared_or_found
from optoscope.analysis.symmetry._deviations import Deviations, deviations
from optoscope.analysis.symmetry._task import declares_symmetries, task_symmetries
from optoscope.optimizers import Optimizer
from optoscope.tasks import Symmetry, Task, TaskDistribution
from optoscope.training import Probe, StepRecord


class SymmetryProbe(Probe):
    """How far updates break the constraints that the network's symmetries put on gradients.

    Source: paper A, figures 4, 7 and 10.

    Args:
        every: measure at steps 0, every, 2·every, …
        symmetries: by name; if not given all that the task declares, or for a task that declares
            none those that `discover` finds.

    Raises:
        InvalidValueError: when a run starts, if there are none.

    Example:
        >>> import jax
        >>> from optoscope import optimizers, tasks, training
        >>> task = tasks.get("digits-mlp-sigmoid", batch_size=8)
        >>> probe = SymmetryProbe(every=2)
        >>> run = training.train(task, optimizers.lion(), 3, key=jax.random.key(0),
        ...                      probes={"symmetry": probe})
        >>> run.records["symmetry"]["translation"].vector.shape  # (runs, measurements, K)
        (1, 2, 21)
    """

    text = ProbeText(
        "The cosine between the update and the directions that gradients have nothing along, one "
        "picture for each symmetry of the network; dotted: what a direction that knows nothing of "
        "the symmetry would have. A curve far below it keeps the symmetry as gradients do, one "
        "above it seeks what gradients avoid.",
        "Whether breaking a symmetry helps. The cosine does not grow with the step: how far the "
        "parameters went along the symmetry is in the records (`sum_abs`).",
        (Drawing("curve", ".cosine", "cosine", logarithmic=True, reference=".isotropic"),),
    )

    symmetries: Mapping[str, Symmetry] | None = None

    def prepared(self, task: Task | TaskDistribution) -> "SymmetryProbe":
        """A copy with symmetries that were found, for a task that declares none.

        Raises:
            InvalidValueError: none were found either.
        """
        if self._chosen() or declares_symmetries(task):
            return self
        return SymmetryProbe(self.every, declared_or_found(task).symmetries)

    def bind(self, task: Task, optimizer: Optimizer) -> "SymmetryProbe":
        """A copy of the probe with the task's symmetries where none were given.

        Raises:
            InvalidValueError: the task declares none.
        """
        del optimizer
        return SymmetryProbe(self.every, self._chosen() or task_symmetries(task))

    def _chosen(self) -> dict[str, Symmetry]:
        return dict(self.symmetries or {})

    def measure(self, record: StepRecord) -> dict[str, Deviations]:
        """The deviations of the step's updates, by symmetry."""
        return {
            name: deviations(record.updates, record.params, symmetry)
            for name, symmetry in self._chosen().items()
        }
