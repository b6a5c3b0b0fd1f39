"""The symmetries of multi-layer perceptrons."""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from optoscope.tasks._mlp import MLP
from optoscope.tasks._symmetries import Symmetry, join, rescale, scale, translation

HOMOGENEOUS_ACTIVATIONS = ("relu", "leaky_relu")
# Weights times 1e6 make a variance 1e12 times larger: what the norm's epsilon adds to it is then
# below the rounding of float64.
NORM_LIMIT = math.log(1e6)


@dataclass(frozen=True)
class _LayerEntries:
    """Selects arrays of one layer; equal by value, so that rebuilding it recompiles nothing."""

    layer: int
    names: tuple[str, ...]
    by: Literal["input", "output", "layer"]

    def __call__(self, params: PyTree[Array]) -> list[Array]:
        leaves = [params[f"layer_{self.layer}"][name] for name in self.names]
        if self.by == "output":
            return [jnp.moveaxis(leaf, -1, 0) for leaf in leaves]
        return [leaf[None] for leaf in leaves] if self.by == "layer" else leaves


def _common_shift(layer: int) -> Symmetry:
    """One number added to every output of a linear layer, by an input's weights or by the bias."""
    name = f"layer_{layer}"
    return join(
        translation(_LayerEntries(layer, ("weights",), "input"), label=f"{name} input"),
        translation(_LayerEntries(layer, ("bias",), "layer"), label=f"{name} bias"),
    )


def mlp_symmetries(network: MLP) -> dict[str, Symmetry]:
    """The symmetries of a multi-layer perceptron under a softmax cross-entropy.

    With weights of shape (inputs, outputs), so that the papers' columns are rows here:

    - "translation": the softmax ignores a number added to all logits. One generator for each
      input of the last layer (ones over its row of weights) and one for the bias.
    - "rescale", for ReLU and leaky ReLU: one generator for each hidden neuron, any depth. Without
      a norm, incoming weights and bias against outgoing weights; with one, the learned scale and
      shift after the norm against outgoing weights.
    - "scale", with a norm. Batch norm divides every neuron by its own standard deviation: one
      generator per neuron, its incoming weights and bias. Layer norm divides all neurons of a
      layer by one standard deviation, and scaling a single one is *not* a symmetry: one
      generator per layer, all its weights and biases.
    - "norm_translation", with a norm: what its centering removes. Batch norm subtracts a neuron's
      own mean: one generator per neuron, its bias alone. Layer norm subtracts the mean over
      neurons: as for the softmax, one generator for each input of the layer and one for its
      bias.

    All are exact but "scale". With the norm y = (z − mean)/sqrt(v + ε), multiplying z by exp(a)
    gives dy/da = y·ε/(v + ε) at a = 0. Let s_k be the learned scale after the norm; because
    ⟨∂L/∂y_k, y_k⟩ = s_k·∂L/∂s_k, the gradient deviates for batch norm by exactly

        ⟨∇L, ξ_k⟩ = ε/(v_k + ε) · s_k · ∂L/∂s_k

    (for layer norm v differs between examples, and this is a sum over them). ε is 1e-5 here, so
    where a neuron's variance is 0.03 the deviation is 3e-4 of that product. It falls as 1/c²
    when the weights are multiplied by c: `Symmetry.limit` says how far to go to lose it.

    Source: paper A, equations 12, 15, 18; paper A has one hidden layer and no layer norm.

    Example:
        >>> import jax
        >>> found = mlp_symmetries(MLP((64, 20, 10), "relu", "batch"))
        >>> params = MLP((64, 20, 10), "relu", "batch").init(jax.random.key(0))
        >>> {name: len(symmetry.labels(params)) for name, symmetry in found.items()}
        {'translation': 21, 'rescale': 20, 'scale': 20, 'norm_translation': 20}
    """
    last = network.num_layers - 1
    symmetries = {"translation": _common_shift(last)}
    if last and network.activation in HOMOGENEOUS_ACTIVATIONS:
        incoming = ("weights", "bias") if network.norm is None else ("scale", "shift")
        symmetries["rescale"] = join(
            *(
                rescale(
                    _LayerEntries(layer, incoming, "output"),
                    _LayerEntries(layer + 1, ("weights",), "input"),
                    label=f"layer_{layer} neuron",
                )
                for layer in range(last)
            )
        )
    if last and network.norm is not None:
        symmetries |= _norm_symmetries(last, by_neuron=network.norm == "batch")
    return symmetries


def _norm_symmetries(num_hidden: int, *, by_neuron: bool) -> dict[str, Symmetry]:
    scales, shifts = [], []
    for layer in range(num_hidden):
        name = f"layer_{layer} neuron" if by_neuron else f"layer_{layer}"
        entries = _LayerEntries(layer, ("weights", "bias"), "output" if by_neuron else "layer")
        scales.append(scale(entries, label=name, limit=NORM_LIMIT))
        bias = _LayerEntries(layer, ("bias",), "output")
        shifts.append(translation(bias, label=name) if by_neuron else _common_shift(layer))
    return {"scale": join(*scales), "norm_translation": join(*shifts)}
