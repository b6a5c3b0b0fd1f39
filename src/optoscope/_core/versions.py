"""The versions that a result depends on."""

import platform
from importlib import metadata

from optoscope import __version__


def versions() -> dict[str, str]:
    """By package, as config.json holds them."""
    packages = ("jax", "jaxlib", "equinox", "optax", "numpy")
    return {
        "optoscope": __version__,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }
