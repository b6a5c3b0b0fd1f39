"""Independent streams of randomness from one seed."""

import zlib

import jax
from jaxtyping import PRNGKeyArray

from optoscope._core.errors import check_seed


def stream(seed: int, purpose: str) -> PRNGKeyArray:
    """The key of one purpose of a run ("meta-training", "evaluation", …).

    Purposes of one seed never share a key, so that what is trained on is not met again in the
    evaluation.

    Raises:
        InvalidValueError: the seed is no whole number from 0 to 2³² − 1.

    Example:
        >>> bool((stream(0, "tuning") == stream(0, "evaluation")).all())
        False
    """
    return jax.random.fold_in(jax.random.key(check_seed(seed)), zlib.crc32(purpose.encode()))
