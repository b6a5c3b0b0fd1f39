"""Whether JAX has a device to compute on."""

import jax

from optoscope._core.errors import InvalidValueError


def check_platform() -> None:
    """Returns where JAX has a device to compute on.

    Raises:
        InvalidValueError: it has none, as where `JAX_PLATFORMS` is "cuda" on a machine without a
            GPU.
    """
    try:
        jax.default_backend()
    # Where the platform that is named is not there, JAX may fail by an assertion without a word.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip()
        said = f" ({reason.splitlines()[0][:300]})" if reason else ""
        named = jax.config.jax_platforms  # pyright: ignore
        advice = f"JAX_PLATFORMS is {named!r}; unset it, or set" if named else "Set"
        raise InvalidValueError(
            f"JAX cannot use the device that it is told to{said}. {advice} JAX_PLATFORMS=cpu."
        ) from error
