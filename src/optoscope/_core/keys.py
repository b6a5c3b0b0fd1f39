"""Independent streams of randomness from one seed, drawn by one generator on every machine."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray

from optoscope._core.errors import InvalidValueError, check_seed
from optoscope._core.platforms import check_platform

# JAX's own default. Its numbers are the same for one run and for many side by side, and on any
# number of devices; those of "rbg", which `JAX_DEFAULT_PRNG_IMPL` may ask for, are not. Paired
# runs, chunks and exact resume rest on that, so the default is never asked.
GENERATOR = "threefry2x32"


def new_key(seed: Any) -> PRNGKeyArray:
    """The key of a seed, of the library's generator."""
    # Most of what computes makes a key first: here it shows whether there is a device.
    check_platform()
    return jax.random.key(seed, impl=GENERATOR)


def from_data(data: Any) -> PRNGKeyArray:
    """The key that `jax.random.key_data` of one of the library's keys gave."""
    return jax.random.wrap_key_data(data, impl=GENERATOR)


def as_key(key: Any, name: str = "key") -> PRNGKeyArray:
    """A key that a user gave, as one of the library's generator.

    Every public function that takes a key calls it first. A raw key of two numbers
    (`jax.random.PRNGKey(0)`) is wrapped. A key of "rbg" or "unsafe_rbg" becomes the key that the
    same seed has with the library's generator, so that results do not depend on
    `JAX_DEFAULT_PRNG_IMPL`.

    Args:
        key: one key.
        name: how messages call it.

    Raises:
        InvalidValueError: no key, or several.

    Example:
        >>> same = [jax.random.key(7), jax.random.PRNGKey(7), jax.random.key(7, impl="rbg")]
        >>> [jax.random.key_data(as_key(key)).tolist() for key in same]
        [[0, 7], [0, 7], [0, 7]]
    """
    typed = hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed and (getattr(key, "dtype", None) != jnp.uint32 or jnp.ndim(key) == 0):
        raise InvalidValueError(
            f"{name} is {_short(key)}, which is no random key; write {name}=jax.random.key(0)."
        )
    if typed and jax.random.key_impl(key) == GENERATOR and key.ndim == 0:
        return key
    data = jax.random.key_data(key) if typed else jnp.asarray(key)
    if data.ndim != 1 or data.shape[0] not in (2, 4):
        raise InvalidValueError(
            f"{name} holds keys of shape {data.shape[:-1]}; it must be one key: {name}={name}[0]."
        )
    if data.shape[0] == 2:
        return from_data(data)
    # A seed's two halves are equal; other keys of this kind come from splitting one.
    first, second = from_data(data[:2]), data[2:]
    mixed = jax.random.fold_in(jax.random.fold_in(first, second[0]), second[1])
    return from_data(
        jnp.where(
            jnp.all(data[:2] == second), jax.random.key_data(first), jax.random.key_data(mixed)
        )
    )


def as_keys(keys: Any) -> Key[Array, " runs"]:
    """What `as_key` does, for a vector of keys, one per run."""
    if jnp.ndim(keys) == 0:
        raise InvalidValueError(
            "keys is one key; it must be one per run: training.run_keys(key, 3)."
        )
    typed = hasattr(keys, "dtype") and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    if typed and jax.random.key_impl(keys) == GENERATOR:
        return keys
    return jax.vmap(as_key)(jnp.asarray(keys))


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed keys, such as an optimizer's that adds noise."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def key_numbers(leaf: Any) -> Any:
    """The numbers of an array of typed keys; any other leaf itself."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def with_numbers(leaf: Any, numbers: Any) -> Any:
    """The inverse of `key_numbers`, for a leaf of the kind of `leaf`."""
    if not is_key(leaf):
        return numbers
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


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
    return jax.random.fold_in(new_key(check_seed(seed)), zlib.crc32(purpose.encode()))
