"""Shapes and types of every public signature are checked while the tests run."""

from jaxtyping import install_import_hook

# Must come before any module of the library is imported.
_HOOK = install_import_hook(
    [
        f"optoscope.{name}"
        for name in ("_core", "bench", "data", "meta", "optimizers", "tasks", "training")
    ],
    "beartype.beartype",
)
