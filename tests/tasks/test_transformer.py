import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope._core.errors import InvalidValueError
from optoscope._core.trees import size
from optoscope.tasks import Transformer
from optoscope.tasks._transformer import causal_attention

KEY = jax.random.key(0)


def random_params(network):
    """Norms, biases and all: at their initial values a mix-up would not show."""
    draw = np.random.default_rng(0).normal
    shapes = jax.eval_shape(network.init, KEY)
    return jax.tree.map(lambda leaf: jnp.asarray(draw(0, 0.3, leaf.shape), jnp.float32), shapes)


def naive_norm(row, layer):
    return (row - row.mean()) / np.sqrt(row.var() + 1e-5) * layer["scale"] + layer["shift"]


def naive_attention(queries, keys, values):
    """One sequence and head, one position at a time: (length, width) each."""
    result = []
    for position, query in enumerate(queries):
        weights = np.exp([query @ key / len(query) ** 0.5 for key in keys[: position + 1]])
        result.append(weights @ values[: position + 1] / weights.sum())
    return np.array(result)


def naive_transformer(network, params, sequence):
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
    hidden = np.array(
        [
            params["embedding"]["weights"][token] + params["positions"]["weights"][position]
            for position, token in enumerate(sequence)
        ]
    )
    head = network.width // network.num_heads
    for block in range(network.num_layers):

        def part(name, block=block):
            return params[f"block_{block}_{name}"]

        normed = np.array([naive_norm(row, part("attention_norm")) for row in hidden])
        heads = []
        for index in range(network.num_heads):
            columns = slice(index * head, (index + 1) * head)
            inputs = (part(n)["weights"][:, columns] for n in ("queries", "keys", "values"))
            heads.append(naive_attention(*(normed @ weights for weights in inputs)))
        attended = np.concatenate(heads, axis=1)
        hidden = hidden + attended @ part("outputs")["weights"] + part("outputs")["bias"]
        normed = np.array([naive_norm(row, part("expand_norm")) for row in hidden])
        inside = np.maximum(normed @ part("expand")["weights"] + part("expand")["bias"], 0)
        hidden = hidden + inside @ part("contract")["weights"] + part("contract")["bias"]
    normed = np.array([naive_norm(row, params["norm"]) for row in hidden])
    return normed @ params["dense"]["weights"] + params["dense"]["bias"]


def test_attention_against_one_position_at_a_time():
    queries, keys, values = jax.random.normal(KEY, (3, 2, 5, 3, 4))
    result = causal_attention(queries, keys, values)
    for batch in range(2):
        for head in range(3):
            expected = naive_attention(
                *(np.asarray(x[batch, :, head], float) for x in (queries, keys, values))
            )
            np.testing.assert_allclose(result[batch, :, head], expected, rtol=1e-4, atol=1e-5)


def test_against_a_naive_implementation():
    network = Transformer(7, 6, num_layers=2, width=8, num_heads=2)
    params = random_params(network)
    tokens = jax.random.randint(KEY, (3, 6), 0, 7)
    expected = [naive_transformer(network, params, sequence) for sequence in tokens.tolist()]
    np.testing.assert_allclose(jax.jit(network)(params, tokens), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("position", [0, 3, 7])
def test_logits_do_not_depend_on_later_characters(position):
    network = Transformer(9, 8, num_layers=2, width=8, num_heads=2)
    params = random_params(network)
    tokens = jax.random.randint(KEY, (1, 8), 0, 9)
    before = network(params, tokens)
    other = tokens.at[0, position].set((tokens[0, position] + 1) % 9)
    changed = np.asarray(network(params, other) != before).any(axis=2)[0]
    # Earlier positions to the last bit as they were; this one and all later ones not.
    assert changed.tolist() == [False] * position + [True] * (8 - position)


def test_the_order_of_the_past_matters():
    network = Transformer(9, 8, num_layers=1, width=8, num_heads=2)
    params = random_params(network)
    one, other = network(params, jnp.array([[1, 2, 3], [2, 1, 3]]))
    assert float(jnp.abs(one[-1] - other[-1]).max()) > 1e-3


def test_huge_scores_stay_finite():
    queries = jnp.full((1, 3, 1, 2), 1e4)
    values = jnp.arange(6.0).reshape(1, 3, 1, 2)
    grads = jax.grad(lambda q: jnp.sum(causal_attention(q, queries, values)))(queries)
    assert np.isfinite(grads).all()


def test_the_number_of_parameters_at_the_papers_size():
    shapes = jax.eval_shape(Transformer(65, 64).init, KEY)
    block = 4 * 256**2 + 256 + 256 * 1024 + 1024 + 1024 * 256 + 256 + 4 * 256
    assert size(shapes) == (65 + 64) * 256 + 5 * block + 2 * 256 + 257 * 65
    assert set(shapes["block_0_keys"]) == {"weights"}


@pytest.mark.parametrize(
    "settings", [{"num_layers": 0}, {"width": 6, "num_heads": 4}, {"length": 0}]
)
def test_wrong_settings(settings):
    with pytest.raises(InvalidValueError, match="num_heads must divide width"):
        Transformer(**({"vocabulary_size": 5, "length": 4, "width": 8, "num_heads": 2} | settings))
