"""The deviations of one update from the constraints of a symmetry, and their aggregates."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optoscope._core.errors import check_count
from optoscope._core.roots import safe_root
from optoscope._core.showing import shown
from optoscope._core.trees import global_norm, size
from optoscope.analysis.symmetry._discover import Discovery
from optoscope.tasks import Symmetry


@shown
class Deviations(eqx.Module):
    """How far an update is from orthogonal to the K generators of a symmetry.

    `sum_abs` and `signed` grow with the size of the step: compare optimizers by them only
    together with the norms of their updates, or by `cosine`, which does not.

    Args:
        vector: d_k = ⟨u, ξ_k(θ)⟩.
        sum_abs: Σ|d_k|, the paper's.
        signed: |Σ d_k|, of the program released with the paper: neurons that deviate in
            opposite directions cancel.
        cosine: the root mean square over k of d_k/(‖u‖·‖ξ_k‖), the corrected one: 0 for a
            gradient, 1 for a step along every generator. Generators that are zero at θ are left
            out; a zero update has cosine 0.
        isotropic: the `isotropic_level` to compare `cosine` with.
    """

    vector: Float[Array, " generators"]
    sum_abs: Float[Array, ""]
    signed: Float[Array, ""]
    cosine: Float[Array, ""]
    isotropic: Float[Array, ""]


def isotropic_level(num_params: int) -> float:
    """The expected `cosine` of a step in a random direction: 1/sqrt(num_params).

    Let u be isotropic in R^n, v = u/‖u‖, and ξ any fixed direction. The expectations of v_i² are
    equal and sum to 1, so each is 1/n, and by rotation E[(⟨u, ξ⟩/(‖u‖‖ξ‖))²] = 1/n. The mean over
    k of such squares has the same expectation, even where generators overlap. The level is the
    root of that: exact for the mean square, for any K. n counts *all* parameters, since ‖u‖ does.

    A cosine below it means the update avoids the generators as gradients do; at it, that the
    update ignores them; above it, that the update seeks them.

    Raises:
        InvalidValueError: `num_params` below 1.

    Example:
        >>> isotropic_level(15910)  # doctest: +ELLIPSIS
        0.00792...
    """
    check_count("num_params", num_params, minimum=1)
    return num_params**-0.5


def deviations(
    updates: PyTree[Float[Array, "..."]],
    params: PyTree[Float[Array, "..."]],
    symmetry: Symmetry | Discovery,
) -> Deviations:
    """The deviations of `updates`, taken at `params`, from a symmetry.

    Source: paper A, equations 13 (translation), 16 (rescale) and 19 (scale) for `sum_abs`.

    Args:
        updates: what is added to the parameters.
        params: the parameters *before* the update.
        symmetry: one of `task.symmetries(params)`, your own, or what `discover` found: then all
            of its named generators.

    Example: two neurons deviate by +1 and −1.
        >>> from optoscope.tasks import translation
        >>> each = translation(lambda p: p)
        >>> found = deviations(jnp.array([1.0, -1.0]), jnp.zeros(2), each)
        >>> float(found.sum_abs), float(found.signed), round(float(found.cosine), 4)
        (2.0, 0.0, 0.7071)
    """
    if isinstance(symmetry, Discovery):
        symmetry = symmetry.symmetry
    vector = symmetry.contract(updates, params)
    norms = symmetry.norms(params)
    scales = global_norm(updates) * norms
    # A float32 product of two small norms can underflow where neither does: those count as zero.
    cosines = jnp.where(scales > 0, vector / jnp.where(scales > 0, scales, 1.0), 0.0)
    count = jnp.maximum(jnp.sum(norms > 0), 1)
    return Deviations(
        vector=vector,
        sum_abs=jnp.sum(jnp.abs(vector)),
        signed=jnp.abs(jnp.sum(vector)),
        cosine=safe_root(jnp.sum(jnp.square(cosines)) / count),
        isotropic=jnp.asarray(isotropic_level(size(params)), vector.dtype),
    )
