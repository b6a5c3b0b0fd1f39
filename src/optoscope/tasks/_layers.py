"""The layers that several networks are made of, as functions of one layer's parameters."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

INITIALIZATIONS = ("uniform", "truncated_normal", "small_normal")

_SMALL = 0.01

_NORM_EPSILON = 1e-5
# Images are (batch, height, width, channels), kernels (height, width, inputs, outputs).
_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Patches repeat a pixel up to nine times: a whole split of images is left to XLA's convolution.
_PATCH_BYTES = 2**28

Layer = dict[str, Array]


def draw_layer(
    key: PRNGKeyArray, shape: tuple[int, ...], initialization: str
) -> dict[str, Float[Array, "..."]]:
    """Draws `{"weights": shape, "bias": (outputs,)}`; the last axis is the outputs.

    Args:
        key: PRNG key.
        shape: of the weights; all axes but the last make the fan-in.
        initialization: "uniform" in ±1/sqrt(fan_in), biases too; "truncated_normal", a
            standard normal cut at ±2 over sqrt(fan_in), biases zero; or "small_normal", a normal
            of standard deviation 0.01, biases too.
    """
    fan_in = math.prod(shape[:-1])
    bound = fan_in**-0.5
    if initialization == "truncated_normal":
        weights = bound * jax.random.truncated_normal(key, -2.0, 2.0, shape)
        return {"weights": weights, "bias": jnp.zeros(shape[-1])}
    weights_key, bias_key = jax.random.split(key)
    if initialization == "small_normal":
        return {
            "weights": _SMALL * jax.random.normal(weights_key, shape),
            "bias": _SMALL * jax.random.normal(bias_key, shape[-1:]),
        }
    return {
        "weights": jax.random.uniform(weights_key, shape, minval=-bound, maxval=bound),
        "bias": jax.random.uniform(bias_key, shape[-1:], minval=-bound, maxval=bound),
    }


def draw_embedding(key: PRNGKeyArray, num_entries: int, width: int) -> Layer:
    """Draws `{"weights": (entries, width)}`, a standard normal cut at ±2 over sqrt(width)."""
    weights = jax.random.truncated_normal(key, -2.0, 2.0, (num_entries, width))
    return {"weights": width**-0.5 * weights}


def fresh_norm(num_units: int) -> Layer:
    """`{"scale": ones, "shift": zeros}`: a normalization that starts as the identity."""
    return {"scale": jnp.ones(num_units), "shift": jnp.zeros(num_units)}


def normalize(
    layer: Layer, values: Float[Array, "*axes units"], axis: int | tuple[int, ...] = -1
) -> Float[Array, "*axes units"]:
    """(x − mean)/sqrt(variance + 1e-5) over `axis`, times the learned scale, plus the shift."""
    mean = jnp.mean(values, axis=axis, keepdims=True)
    variance = jnp.var(values, axis=axis, keepdims=True)
    normalized = (values - mean) * jax.lax.rsqrt(variance + _NORM_EPSILON)
    return normalized * layer["scale"] + layer["shift"]


def dense(layer: Layer, values: Float[Array, "*axes inputs"]) -> Float[Array, "*axes outputs"]:
    """X W + b."""
    return values @ layer["weights"] + layer["bias"]


def _patches(
    images: Float[Array, "batch height width inputs"], kernel_size: int, stride: int, padding: str
) -> Float[Array, "batch new_height new_width patch"]:
    """The input patch of each output of a convolution, in the order of a kernel's entries."""
    window, strides = (kernel_size,) * 2, (stride,) * 2
    edges = jax.lax.padtype_to_pads(images.shape[1:3], window, strides, padding)
    images = jnp.pad(images, [(0, 0), *edges, (0, 0)])
    sides = tuple((side - kernel_size) // stride + 1 for side in images.shape[1:3])
    height, width = ((side - 1) * stride + 1 for side in sides)
    return jnp.concatenate(
        [
            images[:, row : row + height : stride, column : column + width : stride]
            for row in range(kernel_size)
            for column in range(kernel_size)
        ],
        axis=-1,
    )


def convolve(
    layer: Layer,
    images: Float[Array, "batch height width inputs"],
    *,
    stride: int = 1,
    padding: str = "SAME",
) -> Float[Array, "batch new_height new_width outputs"]:
    """The convolution of images with square kernels, plus the bias.

    On a CPU, and as long as they fit, patches of the images are multiplied by the kernels as a
    matrix. Inside a loop XLA's own convolution is slow there: a training step of two to four
    convolutions of 8 to 16 channels took 5 to 34 ms, as a product 0.4 to 3 ms. They agree to
    rounding.
    """
    weights = layer["weights"]
    kernel_size, _, num_inputs, num_outputs = weights.shape
    num_patches = images.size // num_inputs // stride**2
    num_bytes = num_patches * kernel_size**2 * num_inputs * images.dtype.itemsize
    if jax.default_backend() == "cpu" and num_bytes <= _PATCH_BYTES:
        patches = _patches(images, kernel_size, stride, padding)
        return patches @ weights.reshape(-1, num_outputs) + layer["bias"]
    return (
        jax.lax.conv_general_dilated(
            images,
            weights,
            window_strides=(stride, stride),
            padding=padding,
            dimension_numbers=_LAYOUT,
        )
        + layer["bias"]
    )
