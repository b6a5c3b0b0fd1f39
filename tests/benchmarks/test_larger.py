"""The networks as PyTorch modules: their losses, gradients and steps are JAX's."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import data, tasks
from optoscope.data import TextDataset
from support.benchmark_modules import loaded

pytest.importorskip("torch")


def transformer():
    draw = np.random.default_rng(0).integers
    text = TextDataset(
        "letters", *(jnp.asarray(draw(0, 7, 90), jnp.int32) for _ in range(3)), "abcdefg"
    )
    return tasks.transformer_language_model(
        text, num_layers=1, width=8, num_heads=2, length=7, batch_size=5
    )


def cnn(**options):
    settings = {"channels": (3, 4), "strides": (2, 1), "padding": "SAME", "batch_size": 6}
    return tasks.cnn_classification(data.load("digits"), **(settings | options))


MAKERS = {
    "transformer": transformer,
    "cnn": cnn,
    # An even kernel and no padding, another pooling.
    "cnn-mean": lambda: cnn(pooling="mean", padding="VALID", strides=(1, 1)),
}


@pytest.fixture(params=MAKERS)
def task(request):
    return MAKERS[request.param]()


def test_loss_and_gradient_of_a_twin_are_those_of_the_task(task):
    twins, key = loaded("_twins"), jax.random.key(1)
    params = jax.tree.map(lambda leaf: leaf + 0.1, task.init(key))  # biases are not zero
    batch = task.sample_batch(key)
    loss, grads = jax.jit(jax.value_and_grad(task.loss))(params, batch)
    module = twins.twin(task.network, params)
    found = module.loss(batch)
    found.backward()
    np.testing.assert_allclose(float(found.detach()), loss, rtol=1e-5)
    for name, values in module.named_parameters():
        values.data = values.grad  # so that `read` gives gradients
        assert np.isfinite(values.data.numpy()).all(), name
    for own, theirs in zip(
        jax.tree.leaves(module.read(params)), jax.tree.leaves(grads), strict=True
    ):
        np.testing.assert_allclose(own, theirs, atol=2e-6, rtol=2e-4)


@pytest.mark.slow
def test_steps_in_pytorch_are_those_in_jax_and_are_kept(tmp_path, monkeypatch, capsys):
    larger = loaded("larger")
    monkeypatch.setattr(larger, "TASKS", {"transformer": transformer})
    # One that takes every coordinate alone: it knows no layout, and no eigenbases, of which
    # rounding decides those that gradients have no part in.
    line = ["larger", "--torch", "--torch-steps", "4", "--tasks", "transformer"]
    line += ["--torch-optimizer", "lstm-mnist-sigmoid"]
    monkeypatch.setattr(sys, "argv", [*line, "--out", str(tmp_path)])
    larger.main()
    said = capsys.readouterr().out
    assert "(equal)" in said
    kept = json.loads((tmp_path / "torch" / "transformer-lstm-mnist-sigmoid.json").read_text())
    assert len(kept["found"]["torch_losses"]) == 4
    assert max(kept["found"]["distances"]) < 1e-2
    assert 0 < max(kept["found"]["moved_distances"]) < 5e-2
    assert kept["found"]["state_bytes"]["adamw"] == pytest.approx(8, rel=0.2)
    # What is there is not computed again.
    beside = sys.modules["_beside_torch"]
    monkeypatch.setattr(beside, "compare_steps", None)
    larger.main()
    assert capsys.readouterr().out == said
