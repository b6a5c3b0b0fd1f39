"""Shapes and types of every public signature are checked while the tests run."""

import jax
from jaxtyping import install_import_hook

# Two devices, as the command line sets up on two cores, so that sharding is tested everywhere.
jax.config.update("jax_num_cpu_devices", 2)
jax.devices()

# Must come before any module of the library is imported.
_HOOK = install_import_hook(
    [
        f"optoscope.{name}"
        for name in (
            "_core",
            "analysis",
            "bench",
            "data",
            "meta",
            "optimizers",
            "tasks",
            "training",
        )
    ],
    "beartype.beartype",
)
