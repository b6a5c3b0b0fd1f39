"""A penalty on symmetry deviations during meta-training."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optoscope._core.errors import UnknownNameError, check_number
from optoscope.analysis.symmetry._task import task_symmetry
from optoscope.tasks import Symmetry, Task, TaskDistribution
from optoscope.training import StepRecord

FORMS = ("paper", "released")


def _strength(value: float | Float[Array, ""]) -> Float[Array, ""]:
    if isinstance(value, int | float):
        check_number("beta", value, minimum=0)
    return jnp.asarray(value, jnp.float32) if isinstance(value, int | float) else value


class SymmetryPenalty(eqx.Module):
    """β times the deviation of a step's updates; put it into `meta.Objective(penalties=(…,))`.

    The parameters are detached: the penalty acts on the update at given parameters, not on the
    path of the parameters. β is an array leaf, so that a sweep over it compiles once.

    - "paper": β·Σ|d_k| at each step.
    - "released": |β·Σ d_k| at each step, which lets neurons of opposite sign cancel; the
      program released with the paper adds it to the logarithm of the summed losses, so use it
      with `Objective("log_sum")`.

    The objective adds penalties over the steps for a summed loss and averages them for a mean,
    so β means the same next to either.

    Source: paper A, section 4.1 (β of 0, 0.1, 0.5 and 1), and its released program.

    Args:
        symmetry: what to keep to.
        beta: the strength, not negative.
        form: "paper" or "released".

    Raises:
        InvalidValueError: a negative strength.
        UnknownNameError: an unknown form.

    Example:
        >>> from optoscope import meta, tasks
        >>> task = tasks.get("digits-mlp-leaky-relu")
        >>> penalty = SymmetryPenalty.for_task(task, "rescale", 0.5)
        >>> objective = meta.Objective("sum", penalties=(penalty,))
    """

    symmetry: Symmetry
    beta: Float[Array, ""] = eqx.field(converter=_strength)
    form: str = eqx.field(static=True, default="paper")

    def __check_init__(self):
        if self.form not in FORMS:
            raise UnknownNameError("form of the penalty", self.form, FORMS)

    @classmethod
    def for_task(
        cls,
        task: Task | TaskDistribution,
        name: str,
        beta: float | Float[Array, ""],
        form: str = "paper",
    ) -> "SymmetryPenalty":
        """The penalty for the symmetry that `task` calls `name`.

        Raises:
            InvalidValueError: the task declares no symmetries.
            UnknownNameError: none of that name.
        """
        return cls(task_symmetry(task, name), beta, form)

    def __call__(self, record: StepRecord) -> Float[Array, ""]:
        """The penalty of one step."""
        params = jax.lax.stop_gradient(record.params)
        vector = self.symmetry.contract(record.updates, params)
        if self.form == "paper":
            return self.beta * jnp.sum(jnp.abs(vector))
        return jnp.abs(self.beta * jnp.sum(vector))
