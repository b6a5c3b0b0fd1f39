"""The probe of tail indices over fresh batches."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optoscope._core.drawings import Drawing, ProbeText
from optoscope._core.errors import UnknownNameError
from optoscope.analysis.noise._samples import (
    QUANTITIES,
    BatchRows,
    FreshBatchProbe,
    centered,
)
from optoscope.analysis.noise._tail_index import TAIL_PROTOCOLS, tail_index_from_seed
from optoscope.training import StepRecord

_RECORDED = (
    "alpha",
    "standard_error",
    "zero_fraction",
    "surrogate_alpha",
    "surrogate_standard_error",
    "group_size",
    "heavy_tailed",
    "silent_fraction",
)


class TailIndexProbe(FreshBatchProbe):
    """The tail indices of gradient and of update noise over fresh batches, from the same batches.

    A measurement is costly: on paper A's network an epoch of 469 batches and two estimates take
    several seconds. The batches' rows are computed inside the run's program; the estimate is
    `tail_index` itself, in float64, through a callback to the host, which is also what keeps
    the rows out of the record. Where the run has diverged, or without noise, α is NaN.

    Source: paper A, figures 8, 11 and 12.

    Args:
        every: measure at steps 0, every, 2·every, …
        task: draws the batches.
        optimizer: the one that is being run.
        key: draws the batches, the permutation and the surrogate, with the step.
        batches: as in `FreshBatchProbe`.
        num_batches: as in `noise_samples`.
        full_batch: "mean" or "full", as in `noise_samples`.
        protocol: as in `tail_index`.
        standardize: as in `tail_index`.
    """

    text = ProbeText(
        "The tail index α of the noise over fresh batches: 2 is Gaussian. Dotted: the same "
        "estimate for Gaussian noise with equal scales, silence and correlations; only a line "
        "below its dotted one speaks for heavy tails.",
        "That noise is α-stable: α is estimated as if it were. A low α without the dotted line "
        "says nothing, since unequal scales alone lower it.",
        tuple(
            Drawing(
                "curve",
                f"['{quantity}']['alpha']",
                f"α of {quantity} noise",
                reference=f"['{quantity}']['surrogate_alpha']",
            )
            for quantity in QUANTITIES
        ),
    )

    batches: str = eqx.field(static=True, default="auto")
    full_batch: str = eqx.field(static=True, default="mean")
    protocol: str = eqx.field(static=True, default="corrected")
    standardize: bool | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.full_batch not in ("mean", "full"):
            raise UnknownNameError("full_batch", self.full_batch, ("mean", "full"))
        if self.protocol not in TAIL_PROTOCOLS:
            raise UnknownNameError("protocol", self.protocol, TAIL_PROTOCOLS)

    def measure(self, record: StepRecord) -> dict[str, dict[str, Float[Array, ""]]]:
        """By quantity ("gradient", "update") the fields of `TailIndex`, as float32."""
        found, key = self.fresh_rows(record, QUANTITIES, self.full_batch == "full")
        number = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.pure_callback(
            # Not a method: it would keep the probe's traced arrays alive.
            partial(_recorded_on_host, protocol=self.protocol, standardize=self.standardize),
            {name: dict.fromkeys(_RECORDED, number) for name in QUANTITIES},
            found,
            jax.random.key_data(key),
            vmap_method="sequential",
        )


def _recorded_on_host(
    found: BatchRows, seed: Any, *, protocol: str, standardize: bool | None
) -> dict[str, dict[str, np.float32]]:
    """NumPy alone: JAX inside a callback can wait for itself."""
    recorded = {}
    for name in found.rows:
        with np.errstate(invalid="ignore", over="ignore"):
            noise = centered(found, name)
        if np.isfinite(noise).all() and noise.any():
            result = tail_index_from_seed(
                noise, np.asarray(seed), group_size=None, protocol=protocol, standardize=standardize
            )
            recorded[name] = {entry: np.float32(getattr(result, entry)) for entry in _RECORDED}
        else:
            recorded[name] = dict.fromkeys(_RECORDED, np.float32(np.nan))
    return recorded
