"""A PyTorch model as a task gives what PyTorch computes, paired run by run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import bench, optimizers, tasks, training
from optoscope._core.errors import InvalidValueError

torch = pytest.importorskip("torch")
KEY = jax.random.key(3)


def data(count=96):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 6, generator=generator)
    return torch.utils.data.TensorDataset(inputs, (inputs[:, 0] > 0).long())


def make():
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


def cross_entropy(module, batch):
    return torch.nn.functional.cross_entropy(module(batch[0]), batch[1])


def is_right(module, batch):
    return module(batch[0]).argmax(dim=1) == batch[1]


def loader(count=96):
    return torch.utils.data.DataLoader(data(count), batch_size=16)


def test_loss_and_gradient_are_pytorchs():
    whole = list(torch.utils.data.DataLoader(data(), batch_size=96))
    task = tasks.from_torch(make, cross_entropy, whole)
    params = task.init(KEY)
    value, grads = jax.jit(jax.value_and_grad(task.loss))(params, task.sample_batch(KEY))
    module = make()
    module.load_state_dict({n: torch.from_numpy(np.array(p)) for n, p in params.items()})
    expected = cross_entropy(module, whole[0])
    expected.backward()
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-6)
    for name, param in module.named_parameters():
        np.testing.assert_allclose(grads[name], param.grad, rtol=1e-5, atol=1e-8)


def test_gradient_descent_goes_where_pytorchs_goes():
    whole = list(torch.utils.data.DataLoader(data(), batch_size=96))
    module = make()
    task = tasks.from_torch(module, cross_entropy, whole)
    run = training.train(task, optimizers.sgd(0.5), 10, key=KEY, num_runs=2)
    sgd = torch.optim.SGD(module.parameters(), 0.5)
    losses = []
    for _ in range(10):
        loss = cross_entropy(module, whole[0])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(run.losses, [losses, losses], rtol=1e-5)


def test_runs_are_paired_and_random_parts_are_the_runs():
    def make_noisy():
        return torch.nn.Sequential(make(), torch.nn.Dropout(0.5))

    task = tasks.from_torch(make_noisy, cross_entropy, loader())
    still = optimizers.sgd(0.0)
    first = training.train(task, still, 4, key=KEY, num_runs=3).losses
    torch.rand(7)  # PyTorch's own state is no matter
    again = training.train(task, optimizers.momentum(0.0), 4, key=KEY, num_runs=3).losses
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == 12


def test_the_generator_of_the_user_is_left_alone():
    task = tasks.from_torch(make, cross_entropy, loader())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    jax.block_until_ready(task.loss(task.init(KEY), task.sample_batch(KEY)))
    assert torch.equal(torch.rand(3), expected)


def test_compare_with_a_tuned_baseline_and_validation_data():
    task = tasks.from_torch(
        make, cross_entropy, loader(), validation=loader(64), accuracy=is_right, name="mine"
    )
    found = bench.compare(
        task,
        {"star": optimizers.load("star-mnist-mlp")},
        ["adam"],
        num_steps=20,
        seed=0,
        num_runs=2,
        num_points=5,
        tuning_runs=2,
        tune_learned=False,
    )
    assert set(found.evaluation.optimizers) == {"star", "adam"}
    adam = found.evaluation.optimizers["adam"]
    assert adam.losses.shape == (2, 20)
    assert adam.test_accuracy is not None
    assert adam.test_accuracy.min() > 0.7
    assert found.task["name"] == "mine"


def test_validation_uses_the_mean_over_examples_and_fresh_statistics():
    def with_statistics():
        return torch.nn.Sequential(torch.nn.BatchNorm1d(6, affine=False), torch.nn.Linear(6, 2))

    uneven = torch.utils.data.DataLoader(data(90), batch_size=64)
    whole = list(torch.utils.data.DataLoader(data(90), batch_size=90))
    task = tasks.from_torch(
        with_statistics, cross_entropy, whole, validation=uneven, accuracy=is_right
    )
    params = task.init(KEY)
    assert set(params) == {"1.weight", "1.bias"}
    inputs, labels = whole[0]
    normal = (inputs - inputs.mean(0)) / (inputs.var(0) + 1e-5).sqrt()
    weight, bias = (torch.from_numpy(np.array(params[f"1.{n}"])) for n in ("weight", "bias"))
    logits = normal @ weight.T + bias
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert float(task.validation_loss(params)) == pytest.approx(float(expected), rel=1e-5)
    right = (logits.argmax(1) == labels).float().mean()
    assert float(task.accuracy(params)) == pytest.approx(float(right), abs=1e-6)
    # Twice the same: nothing of it is kept in the module.
    assert float(task.validation_loss(params)) == pytest.approx(float(expected), rel=1e-5)


def test_frozen_parameters_stay_and_bfloat16_is_kept():
    module = make().to(torch.bfloat16)
    module[0].weight.requires_grad_(False)

    def loss(module, batch):
        return cross_entropy(module, [batch[0].to(torch.bfloat16), batch[1]])

    task = tasks.from_torch(module, loss, loader())
    run = training.train(task, optimizers.sgd(0.1), 3, key=KEY)
    assert set(run.params) == {"0.bias", "2.weight", "2.bias"}
    assert {leaf.dtype for leaf in run.params.values()} == {jnp.dtype(jnp.bfloat16)}


def test_large_parameters_pass_through():
    task = tasks.from_torch(
        lambda: torch.nn.Linear(1000, 1000), lambda module, batch: module(batch).square().mean(),
        [torch.ones(2, 1000)],
    )  # fmt: skip
    run = training.train(task, optimizers.sgd(0.1), 3, key=KEY, num_runs=2)
    assert bool((run.losses[:, -1] < run.losses[:, 0]).all())


def test_what_cannot_work_is_refused_before_anything_runs():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield torch.ones(2)

    with pytest.raises(InvalidValueError, match=r"torch\.Generator"):
        tasks.from_torch(make, cross_entropy, torch.utils.data.DataLoader(Stream()))
    with pytest.raises(InvalidValueError, match="drawn from a int"):
        tasks.from_torch(make, cross_entropy, 3)
    with pytest.raises(InvalidValueError, match="scalar"):
        tasks.from_torch(make, lambda module, batch: module(batch[0]), loader())
    with pytest.raises(InvalidValueError, match="validation"):
        tasks.from_torch(make, cross_entropy, loader(), accuracy=is_right)
    with pytest.raises(InvalidValueError, match="Module"):
        tasks.from_torch(lambda: 3, cross_entropy, loader())
    with pytest.raises(InvalidValueError, match="nothing can be trained"):
        tasks.from_torch(torch.nn.Tanh(), cross_entropy, loader())
