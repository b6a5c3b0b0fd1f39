"""The problems that an accelerator is checked on: generated, small, and well-conditioned."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from optoscope import optimizers, tasks

# Learned optimizers start with exact zeros here and there, which would hide what they multiply.
_NOISE = 0.05
_IMAGES, _BATCH = 64, 16


class EveryRank(tasks.Task):
    """A convolutional network with parameters of rank 0 to 4, on a slope.

    The slope keeps every gradient away from zero. A gradient near zero is rounding alone, and
    optimizers that see signs or logarithms make large steps of it: they would differ between
    any two machines.

    Args:
        start: the parameters that every run starts from.
        slope: what is added to every gradient, of absolute value between 0.5 and 1.
        images: shape (examples, 8, 8, 2).
        targets: shape (examples, 6).
    """

    start: Any
    slope: Any
    images: jax.Array
    targets: jax.Array

    def init(self, key: jax.Array) -> Any:
        del key
        return jax.tree.map(jnp.asarray, self.start)

    def sample_batch(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        index = jax.random.randint(key, (_BATCH,), 0, _IMAGES)
        return jnp.asarray(self.images)[index], jnp.asarray(self.targets)[index]

    def loss(self, params: Any, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        images, targets = batch
        hidden = jnp.tanh(
            jax.lax.conv_general_dilated(
                images,
                params["kernel"],
                (1, 1),
                "VALID",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        )
        hidden = hidden.reshape(images.shape[0], -1, hidden.shape[-1])
        hidden = jnp.tanh(jnp.einsum("bpc,pcd->bd", hidden, params["mixing"]))
        outputs = jnp.exp(params["scale"]) * (hidden @ params["readout"] + params["bias"])
        tilt = jax.tree.map(lambda slope, leaf: jnp.sum(slope * leaf), self.slope, params)
        return jnp.mean((jnp.tanh(outputs) - targets) ** 2) + sum(jax.tree.leaves(tilt))


def every_rank() -> EveryRank:
    """The task, with arrays of NumPy: each device gets its own copy of them."""
    draw = np.random.default_rng(0)
    shapes = {
        "scale": (),
        "bias": (6,),
        "readout": (5, 6),
        "mixing": (36, 4, 5),
        "kernel": (3, 3, 2, 4),
    }
    fan_in = {"scale": 1, "bias": 4, "readout": 5, "mixing": 36, "kernel": 18}

    def slope(shape: Sequence[int]) -> np.ndarray:
        sign = draw.choice([-1.0, 1.0], shape)
        return np.asarray(sign * draw.uniform(0.5, 1.0, shape), np.float32)

    return EveryRank(
        {
            name: np.asarray(draw.normal(size=shape) / fan_in[name] ** 0.5, np.float32)
            for name, shape in shapes.items()
        },
        {name: slope(shape) for name, shape in shapes.items()},
        draw.normal(size=(_IMAGES, 8, 8, 2)).astype(np.float32),
        draw.uniform(-0.9, 0.9, (_IMAGES, 6)).astype(np.float32),
    )


def on_host(tree: Any) -> Any:
    """The tree with NumPy's arrays, which are on no device."""
    return jax.tree.map(lambda leaf: np.asarray(leaf) if eqx.is_array(leaf) else leaf, tree)


def on_default_device(tree: Any) -> Any:
    """The tree with arrays on the default device."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf, tree)


def optimizer_on_host(name: str, **configuration: Any) -> optimizers.OptimizerModule:
    """A registered optimizer; a learned one with noise on all of its meta-parameters.

    Drawn once, on the host: normal numbers differ between devices in their last bit.
    """
    if optimizers.entry(name).takes_num_steps:
        configuration = {"num_steps": 100} | configuration
    made = on_host(optimizers.get(name, **configuration))
    if not optimizers.REGISTRY[name].learned:
        return made
    draw = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: np.asarray(leaf + _NOISE * draw.normal(size=leaf.shape), leaf.dtype), made
    )
