"""Tail indices and the update covariance from the same batches, computed once."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optoscope.analysis.noise._covariance import update_covariance
from optoscope.analysis.noise._samples import QUANTITIES, BatchRows, FreshBatchProbe, centered
from optoscope.analysis.noise._tail_index import TAIL_PROTOCOLS, tail_index_from_seed
from optoscope.training import StepRecord

TAIL_FIELDS = ("alpha", "standard_error", "zero_fraction", "surrogate_alpha", "silent_fraction")
COVARIANCE_FIELDS = ("top", "relative_top", "trace_share")


def _names() -> list[str]:
    tails = [
        f"{quantity}/{protocol}/{field}"
        for quantity in QUANTITIES
        for protocol in TAIL_PROTOCOLS
        for field in TAIL_FIELDS
    ]
    return tails + [f"covariance/{field}" for field in COVARIANCE_FIELDS]


class NoiseProbe(FreshBatchProbe):
    """Tail indices by all three protocols and the update covariance, from the same batches.

    `TailIndexProbe` and `CovarianceProbe` measure the same, but each applies the optimizer to
    batches of its own; that is most of the cost. Records `<quantity>/<protocol>/<field>` and
    `covariance/<field>`.

    Source: paper A, figures 8, 11 and 12.

    Args:
        covariance_batches: how many of the batches the covariance is taken of.
    """

    covariance_batches: int = eqx.field(static=True, default=93)

    def measure(self, record: StepRecord) -> dict[str, Float[Array, ""]]:
        """One number each; NaN where the run has diverged."""
        found, key = self.fresh_rows(record, QUANTITIES)
        number = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.pure_callback(
            partial(_on_host, covariance_batches=self.covariance_batches),
            dict.fromkeys(_names(), number),
            found,
            jax.random.key_data(key),
            vmap_method="sequential",
        )


def _on_host(found: BatchRows, seed: Any, *, covariance_batches: int) -> dict[str, np.float32]:
    """NumPy alone: JAX inside a callback can wait for itself."""
    measured = dict.fromkeys(_names(), np.float32(np.nan))
    seed = np.asarray(seed)
    for quantity in found.rows:
        with np.errstate(invalid="ignore", over="ignore"):
            noise = centered(found, quantity)
        if not (np.isfinite(noise).all() and noise.any()):
            continue
        for protocol in TAIL_PROTOCOLS:
            result = tail_index_from_seed(
                noise, seed, group_size=None, protocol=protocol, standardize=None
            )
            for field in TAIL_FIELDS:
                value = np.float32(getattr(result, field))
                measured[f"{quantity}/{protocol}/{field}"] = value
    updates = np.asarray(found.rows["update"])[:covariance_batches]
    if np.isfinite(updates).all():
        covariance = update_covariance(updates)
        for field in COVARIANCE_FIELDS:
            measured[f"covariance/{field}"] = np.float32(getattr(covariance, field))
    return measured
