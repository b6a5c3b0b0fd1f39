"""Independent streams of randomness from one seed."""

import zlib

import jax
from jaxtyping import PRNGKeyArray


def stream(seed: int, purpose: str) -> PRNGKeyArray:
    """The key of one purpose of a run ("meta-training", "evaluation", …).

    Purposes of one seed never share a key, so that what is trained on is not met again in the
    evaluation.

    Example:
        >>> bool((stream(0, "tuning") == stream(0, "evaluation")).all())
        False
    """
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))
