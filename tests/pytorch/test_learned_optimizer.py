"""The optimizers for PyTorch go where JAX's go, and are optimizers as PyTorch knows them."""

import copy
import io
import itertools
import math
import pickle
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import FileFormatError, InvalidValueError, UnknownNameError

torch = pytest.importorskip("torch")

from optoscope.torch import LearnedOptimizer, _views  # noqa: E402

LEARNED = [name for name in optimizers.names() if optimizers.REGISTRY[name].learned]
# Ranks 0 to 4: equal lengths, short and long, several of one shape, and one that is cut in tiles.
SHAPES = ((), (7,), (7,), (1,), (5, 5), (5, 5), (2, 300), (4, 3, 5), (8, 6, 3, 3))
# Beside JAX, which compiles each tensor's step by itself, each shape once: that several of one
# shape go together is compared with single tensors. The second are for the many optimizers and
# configurations.
ONCE = ((), (1,), (5, 5), (2, 300), (4, 3, 5), (8, 6, 3, 3))
FEW_SHAPES = ((7,), (5, 5), (8, 6, 3, 3))
NUM_STEPS = 20
# What Celo is told of the loss: it falls, jumps, is no number, and rises.
LOSSES = np.float32([3.0, 2.5, 2.6, 9.0, math.nan, *np.linspace(2.0, 1.0, 10), *range(5)])


# Where one gradient has no part, rounding alone decides what an eigenbasis is.
OF_FULL_RANK = ((), (7,), (5, 5), (5, 5), (5, 5, 3))


def shapes_for(optimizer, otherwise):
    return OF_FULL_RANK if getattr(optimizer, "refresh_every", None) else otherwise


def problem(seed=0, dtype=np.float32, shapes=SHAPES):
    generator = np.random.default_rng(seed)
    draw = lambda shape: np.asarray(generator.standard_normal(shape), dtype)  # noqa: E731
    return [0.5 * draw(s) for s in shapes], [[0.3 * draw(s) for s in shapes] for _ in range(20)]


def parameters(arrays, dtype=torch.float32):
    return [torch.nn.Parameter(torch.from_numpy(np.array(x)).to(dtype)) for x in arrays]


def set_gradients(params, grads):
    for param, grad in zip(params, grads, strict=True):
        # Of the parameters too: what is wrong once goes on.
        param.grad = torch.from_numpy(np.array(grad)).to(param.dtype) + 0.1 * param.detach()


def run(params, grads, optimizer, after=lambda: None, losses=LOSSES):
    """The parameters after every step."""
    trajectory = []
    for some, loss in zip(grads, losses, strict=False):
        set_gradients(params, some)
        optimizer.step(loss=loss)
        after()
        trajectory.append([param.detach().clone() for param in params])
    return trajectory


@eqx.filter_jit
def step_in_jax(optimizer, params, state, grads, loss, rates, decays):
    grads = [g + 0.1 * p.astype(g.dtype) for g, p in zip(grads, params, strict=True)]
    updates, state = optimizer.update(grads, state, params, value=loss)
    moved = [
        # In float32, then in the updates' type, as Optax's chains do with a rate that is a number.
        p + (rate * (u.astype(jnp.float32) - decay * p)).astype(p.dtype)
        for p, u, rate, decay in zip(params, updates, rates, decays, strict=True)
    ]
    return moved, state


# Matrices (outputs, inputs) and kernels (outputs, inputs, *places).
INPUTS_FIRST = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}


def in_order(array):
    """With axes as JAX's libraries have them."""
    return np.transpose(array, INPUTS_FIRST.get(np.ndim(array), range(np.ndim(array))))


def as_given(array):
    """With axes as PyTorch has them."""
    return np.transpose(array, np.argsort(INPUTS_FIRST.get(array.ndim, range(array.ndim))))


def in_jax(optimizer, start, grads, lr=1.0, weight_decay=0.0, losses=LOSSES):
    """p + lr (u − weight_decay p), written out, with axes as JAX's libraries have them."""
    params = [jnp.asarray(in_order(x)) for x in start]
    # Arrays: another value is no other program.
    options = ([jnp.float32(lr)] * len(params), [jnp.float32(weight_decay)] * len(params))
    state, trajectory = optimizer.init(params), []
    for some, loss in zip(grads, losses, strict=False):
        some = [jnp.asarray(in_order(x)) for x in some]
        params, state = step_in_jax(optimizer, params, state, some, loss, *options)
        trajectory.append([as_given(np.asarray(x)) for x in params])
    return trajectory


def assert_same(trajectory, expected, start, tolerance=1e-5):
    """Relative to how far each tensor has gone; and each step rounds the place that it is at."""
    places = [np.linalg.norm(begin) for begin in start]
    # A scalar whose steps have one size may come back to where it began.
    farthest = [0.0 for _ in start]
    for found, right in zip(trajectory, expected, strict=True):
        right = [np.asarray(x, np.float32) for x in right]
        gone = [np.linalg.norm(x - begin) for x, begin in zip(right, start, strict=True)]
        places = [max(n, np.linalg.norm(x)) for n, x in zip(places, right, strict=True)]
        farthest = [max(n, distance) for n, distance in zip(farthest, gone, strict=True)]
        for one, other, far, place in zip(found, right, farthest, places, strict=True):
            distance = np.linalg.norm(np.asarray(one.float()) - other)
            assert far > 0
            rounding = 1e-6 * place
            assert distance <= tolerance * far + rounding, (one.shape, distance / far)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(_views, "_TILE_NUMBERS", {"cpu": 32 * 100})


@pytest.mark.parametrize("name", optimizers.pretrained_names())
@pytest.mark.parametrize(("lr", "weight_decay"), [(1.0, 0.0), (0.3, 0.1)])
def test_a_shipped_optimizer_goes_where_jax_goes(name, lr, weight_decay):
    loaded = optimizers.load(name)
    start, grads = problem(shapes=shapes_for(loaded, FEW_SHAPES))
    params = parameters(start)
    trajectory = run(params, grads, LearnedOptimizer(params, name, lr, weight_decay))
    expected = in_jax(loaded, start, grads, jnp.float32(lr), jnp.float32(weight_decay))
    # Orthogonalizing enlarges what was rounded by the slope of its polynomials, 3.4 five times.
    tolerance = 2e-5 if loaded.registered_name == "general" else 1e-5
    assert_same(trajectory, expected, start, tolerance)


def perturbed(name, **configuration):
    """Weights that use everything: untrained ones have zeros in many places."""
    normal = np.random.default_rng(5).standard_normal
    made = jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf) + np.float32(0.05 * normal(leaf.shape))),
        optimizers.get(name, **configuration),
    )
    if name == "celo":
        # Untrained its steps are lost in the parameters' rounding.
        made = eqx.tree_at(lambda celo: celo.scheduler.readout_bias, made, jnp.float32(8.0))
    return made


ORTHOGONALIZED = {"refresh_every": None, "orthogonalize": True, "hidden_size": 8}
CONFIGURATIONS = {
    "lstm": [{"hidden_size": 5, "num_layers": 3, "log_offset": 1e-8}],
    "rnn": [
        {"cell": cell, "hidden_size": 4, "input_scaling": scaling}
        for cell, scaling in (("vanilla", "raw"), ("lstm", "log"), ("gru", "scaled"))
    ]
    + [{"hidden_size": 4, "input_scaling": "normalized", "input_scale": 10.0, "decay": 0.9}],
    "rnnprop": [{"hidden_size": 5, "log_inputs": True, "bounded": False}],
    "mlp": [{"step_scale": 0.01, "exponent_scale": 0.1, "hidden_size": 3}],
    "star": [
        *({"nominal": n} for n in ("sgd", "momentum", "aggmo", "adam", "none")),
        {"arm": "hyperparam", "learned_nominal_scale": True},
        {"arm": "blackbox", "preconditioning": True, "blackbox_exponent_scale": 1.0},
    ],
    "celo": [{"hidden_size": 5, "scheduler_size": 6}],
    "celo2": [{"orthogonalize": True, "hidden_size": 4}],
    "general": [
        ORTHOGONALIZED | {"nominal": "none", "vectors": "network"},
        ORTHOGONALIZED | {"nominal": "aggmo-adam", "orthogonalize": False, "inputs": "small_fc"},
        ORTHOGONALIZED | {"nominal": "mixed", "vectors": "network", "learned_schedule": True},
        ORTHOGONALIZED | {"nominal": "sgd", "vectors": "nominal", "normalize": False},
        ORTHOGONALIZED
        | {"vectors": "network", "inputs": "small_fc", "learned_sizes": True, "num_steps": 8},
        {"refresh_every": 2},
        {"refresh_every": 3, "hidden_size": 8, "inputs": "small_fc"},
        {"refresh_every": 2, "adaptive_sizes": True, "num_steps": 40},
        ORTHOGONALIZED | {"hidden_size": 0, "adaptive_sizes": True, "num_steps": 40},
    ],
}
NONE_SHIPPED = ("celo", "celo2", "general")
# Celo2's eight units would take twice as long to compile as two.
NEEDED = {"celo": {"num_steps": 30, "hidden_size": 2}, "celo2": {"hidden_size": 2}}
# JAX takes seconds to compile them; there is a quick one of each class.
SLOW = [(name, options) for name in NONE_SHIPPED for options in CONFIGURATIONS[name]]
EVERY = [
    pytest.param(
        name,
        NEEDED.get(name, {}) | options,
        marks=[pytest.mark.slow] if (name, options) in SLOW else [],
        id=f"{name} {options}",
    )
    for name in LEARNED
    for options in [{}, *CONFIGURATIONS[name]]
]


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_every_configuration_of_every_learned_class_goes_where_jax_goes(
    name, options, tmp_path, small_tiles
):
    optimizer = perturbed(name, **options)
    optimizers.save(tmp_path, optimizer)
    shapes = FEW_SHAPES if options in CONFIGURATIONS[name] else ONCE
    start, grads = problem(1, shapes=shapes_for(optimizer, shapes))
    tolerance = 1e-5
    if name not in NONE_SHIPPED:  # the trajectories of those that come with the library are longer
        tolerance, grads = 2e-5, grads[:5]
    params = parameters(start)
    trajectory = run(params, grads, LearnedOptimizer(params, tmp_path))
    assert_same(trajectory, in_jax(optimizer, start, grads), start, tolerance)


@pytest.mark.parametrize(
    ("name", "options"), [("celo2", NEEDED["celo2"]), ("general", {"refresh_every": None})]
)
def test_kernels_of_every_rank_are_taken_as_jax_stores_them(name, options, tmp_path):
    optimizer = perturbed(name, **options)
    optimizers.save(tmp_path, optimizer)
    start, grads = problem(shapes=((32, 16, 3), (8, 4, 3, 3, 3)))
    params = parameters(start)
    trajectory = run(params, grads[:3], LearnedOptimizer(params, tmp_path))
    assert_same(trajectory, in_jax(optimizer, start, grads[:3]), start)


def test_a_group_says_the_order_of_axes_that_shapes_do_not_tell(tmp_path):
    optimizers.save(tmp_path, perturbed("celo2", **NEEDED["celo2"]))
    # Three matrices (inputs, outputs), and a kernel of ConvTranspose2d (inputs, outputs, ...).
    start, grads = problem(shapes=((3, 5, 7), (4, 6, 2, 3), (6,)))
    groups = [{"params": parameters(start[:1]), "axes": (0, 1, 2)}]
    groups.append({"params": parameters(start[1:]), "axes": (2, 3, 0, 1)})
    params = [param for group in groups for param in group["params"]]
    run(params, grads[:3], LearnedOptimizer(groups, tmp_path))

    def of_layers(stack, kernel, bias):
        return [*stack.swapaxes(1, 2), kernel.swapaxes(0, 1), bias]

    layers = parameters(of_layers(*start))
    run(layers, [of_layers(*some) for some in grads[:3]], LearnedOptimizer(layers, tmp_path))
    for one, right in zip(of_layers(*params), layers, strict=True):
        torch.testing.assert_close(one.detach(), right.detach(), rtol=1e-5, atol=1e-6)


# Without JAX, which compiles for seconds, none of them is slow.
EVERY_IN_PYTORCH = [pytest.param(*case.values, id=case.id) for case in EVERY]


@pytest.fixture
def defaults_of_pytorch():
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.usefixtures("defaults_of_pytorch")
@pytest.mark.parametrize(("name", "options"), EVERY_IN_PYTORCH)
def test_default_types_and_devices_of_pytorch_change_nothing(name, options, tmp_path):
    optimizers.save(tmp_path, perturbed(name, **options))
    start, grads = problem(shapes=((), *FEW_SHAPES))
    usual = parameters(start)
    expected = run(usual, grads[:3], LearnedOptimizer(usual, tmp_path))[-1]
    for dtype, device in (
        (torch.float64, "cpu"),
        (torch.bfloat16, "cpu"),
        (torch.float16, "cpu"),
        (torch.float32, "meta"),
    ):
        params = parameters(start)
        torch.set_default_dtype(dtype)
        torch.set_default_device(device)
        optimizer = LearnedOptimizer(params, tmp_path)
        found = run(params, grads[:3], optimizer)[-1]
        kept = [part for state in optimizer.state.values() for part in state.values()]
        assert {(part.dtype, part.device.type) for part in kept} == {(torch.float32, "cpu")}
        assert all(torch.equal(one, right) for one, right in zip(found, expected, strict=True))


SHIPPED = ["lstm-mnist-sigmoid", "gru-quadratic", "star-mnist-mlp"]
every_class = pytest.mark.parametrize("name", SHIPPED)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders with optimizers of the classes of which none comes with the library."""
    folder = tmp_path_factory.mktemp("saved")
    return {
        name: optimizers.save(folder / name, perturbed(name, **NEEDED.get(name, {})))
        for name in ("celo", "general")
    }


@pytest.fixture
def optimizer_name(request, saved):
    return saved.get(request.param, request.param)


every_class_and_frame = pytest.mark.parametrize(
    "optimizer_name", [*SHIPPED, "celo", "general"], indirect=True
)


@every_class_and_frame
def test_small_tiles_threads_and_single_tensors_change_nothing(optimizer_name, monkeypatch):
    start, grads = problem()
    whole = parameters(start)
    expected = run(whole, grads[:5], LearnedOptimizer(whole, optimizer_name))
    monkeypatch.setattr(_views, "_TILE_NUMBERS", {"cpu": 32 * 60})
    monkeypatch.setattr("optoscope.torch._learned_optimizer._WORTH_THREADS", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    for foreach in (True, False):
        params = parameters(start)
        found = run(params, grads[:5], LearnedOptimizer(params, optimizer_name, foreach=foreach))
        assert_same(found, expected, start, 1e-5)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@every_class_and_frame
def test_memory_order_is_no_matter(optimizer_name):
    start, grads = problem()
    plain, turned = parameters(start), parameters(start)
    turned[-1] = torch.nn.Parameter(turned[-1].detach().to(memory_format=torch.channels_last))
    turned[4] = torch.nn.Parameter(turned[4].detach().T.contiguous().T)
    expected = run(plain, grads[:3], LearnedOptimizer(plain, optimizer_name))
    found = run(turned, grads[:3], LearnedOptimizer(turned, optimizer_name))
    assert_same(found, expected, start)
    assert turned[-1].is_contiguous(memory_format=torch.channels_last)


@every_class
def test_bfloat16_parameters_move_as_in_jax(name):
    # A coordinate that is rounded up in one and down in the other can part by more in an LSTM.
    start, grads = problem(shapes=((), (7,), (5, 5), (5, 5), (8, 6, 3, 3)))
    params = parameters(start, torch.bfloat16)
    begin = [jnp.asarray(x, jnp.bfloat16) for x in start]
    run(params, grads[:5], optimizer := LearnedOptimizer(params, name))
    assert all(p.dtype == torch.bfloat16 for p in params)
    kept = [part for state in optimizer.state.values() for part in state.values()]
    assert {part.dtype for part in kept} == {torch.float32}
    grads = [[jnp.asarray(x, jnp.bfloat16) for x in some] for some in grads[:5]]
    right = in_jax(optimizers.load(name), begin, grads)[-1]
    for one, other in zip(params, right, strict=True):
        np.testing.assert_allclose(
            np.asarray(one.detach().float()), np.asarray(other, np.float32), rtol=0.02, atol=0.01
        )


@every_class_and_frame
def test_a_saved_state_goes_on_to_the_last_bit(optimizer_name):
    start, grads = problem()
    for dtype in (torch.float32, torch.bfloat16):
        params = parameters(start, dtype)
        optimizer = LearnedOptimizer(params, optimizer_name, 0.5, 0.01)
        run(params, grads[:4], optimizer)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        others = [torch.nn.Parameter(p.detach().clone()) for p in params]
        again = LearnedOptimizer(others, optimizer_name)
        again.load_state_dict(torch.load(file, weights_only=True))
        pickled = pickle.loads(pickle.dumps((params, optimizer)))
        copied = copy.deepcopy((params, optimizer))
        expected = run(params, grads[4:8], optimizer)[-1]
        for some, other in ((others, again), pickled, copied):
            found = run(some, grads[4:8], other)[-1]
            for one, right in zip(found, expected, strict=True):
                assert torch.equal(one, right)


def test_a_long_side_costs_no_square_of_its_length():
    embedding = torch.nn.Parameter(torch.zeros(1_000_003, 2))  # squared: four terabytes
    optimizer = LearnedOptimizer([embedding], "general", num_steps=10)
    embedding.grad = torch.ones_like(embedding)
    optimizer.step()
    assert bool((embedding < 0).all())


def test_the_state_of_another_optimizer_is_refused():
    params = parameters(problem()[0])
    state = LearnedOptimizer(params, "gru-quadratic").state_dict()
    with pytest.raises(InvalidValueError, match="this state is that of 'rnn"):
        LearnedOptimizer(params, "star-mnist-mlp").load_state_dict(state)


@pytest.mark.parametrize("num_steps", [0, 2])
def test_the_state_of_an_optimizer_of_pytorch_is_refused(num_steps):
    start, grads = problem()
    params = parameters(start)
    other = torch.optim.AdamW(params)
    for some in grads[:num_steps]:
        set_gradients(params, some)
        other.step()
    optimizer = LearnedOptimizer(params, "general")
    before = optimizer.state_dict()
    with pytest.raises(InvalidValueError, match="no learned optimizer's, and this optimizer is 'g"):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.state_dict() == before


def test_an_older_state_goes_on_where_it_has_the_options_of_its_time():
    start, grads = problem()
    params = parameters(start)
    optimizer = LearnedOptimizer(params, "star-mnist-mlp")
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    run(params, grads[:2], optimizer)
    state = optimizer.state_dict()
    for option in ("learned_optimizer", "axes"):
        del state["param_groups"][0][option]
    others = [torch.nn.Parameter(param.detach().clone()) for param in params]
    again = LearnedOptimizer(others, "star-mnist-mlp")
    again.load_state_dict(state)
    assert again.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    found, expected = run(others, grads[2:4], again), run(params, grads[2:4], optimizer)
    assert all(torch.equal(a, b) for a, b in zip(found[-1], expected[-1], strict=True))
    state["param_groups"][0]["momentum"] = 0.9
    with pytest.raises(InvalidValueError, match="no learned optimizer's"):
        again.load_state_dict(state)


@every_class_and_frame
def test_a_state_that_does_not_fit_the_parameters_is_refused(optimizer_name):
    def made(shape):
        param = torch.nn.Parameter(torch.ones(shape))
        param.grad = torch.ones(shape)
        return LearnedOptimizer([param], optimizer_name)

    optimizer, other = made((4, 3)), made((5, 3))
    optimizer.step()
    for some in (optimizer, other):
        before = copy.deepcopy(some.state_dict())
        state = made((6, 3))
        state.step()
        with pytest.raises(InvalidValueError, match="does not fit a parameter of shape"):
            some.load_state_dict(state.state_dict())
        after = some.state_dict()
        assert after["param_groups"] == before["param_groups"]
        torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)


def test_the_state_of_a_kernel_by_other_axes_is_refused():
    param = torch.nn.Parameter(torch.ones(4, 5, 3))
    param.grad = torch.ones(4, 5, 3)
    earlier = LearnedOptimizer([{"params": [param], "axes": (0, 1, 2)}], "general")
    earlier.step()
    state = earlier.state_dict()
    LearnedOptimizer([param], "general").load_state_dict(state)
    del state["param_groups"][0]["axes"]
    with pytest.raises(InvalidValueError, match="before the kernels of Conv1d"):
        LearnedOptimizer([param], "general").load_state_dict(state)


@every_class_and_frame
def test_hooks_of_loading_see_and_change_what_is_loaded(optimizer_name):
    start, grads = problem()
    params = parameters(start, torch.bfloat16)
    optimizer = LearnedOptimizer(params, optimizer_name)
    run(params, grads[:2], optimizer)
    seen = []

    def doubled(_, state):
        state = copy.deepcopy(state)
        for part in (part for parts in state["state"].values() for part in parts.values()):
            part *= 2
        return state

    def changed(loaded):
        seen.extend(copy.deepcopy([loaded.state[param] for param in params]))
        for part in (part for parts in loaded.state.values() for part in parts.values()):
            part.zero_()

    again = LearnedOptimizer(params, optimizer_name)
    again.register_load_state_dict_pre_hook(doubled)
    again.register_load_state_dict_post_hook(changed)
    again.load_state_dict(optimizer.state_dict())
    for param, parts in zip(params, seen, strict=True):
        for name, part in parts.items():
            assert torch.equal(part, 2 * optimizer.state[param][name])
            assert not again.state[param][name].any()


@every_class
def test_groups_have_rates_of_their_own_and_schedulers_change_them(name):
    start, grads = problem()
    begin = [start[4], start[6]]
    grads = [[some[4], some[6]] for some in grads[:6]]
    params = parameters(begin)
    groups = [{"params": params[:1], "lr": 0.5, "weight_decay": 0.1}, {"params": params[1:]}]
    optimizer = LearnedOptimizer(groups, name)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    found = run(params, grads, optimizer, scheduler.step)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 / 7)
    learned, decays = optimizers.load(name), [jnp.float32(0.1), jnp.float32(0.0)]
    now, expected = [jnp.asarray(in_order(x)) for x in begin], []
    state = learned.init(now)
    for step, (some, loss) in enumerate(zip(grads, LOSSES, strict=False)):
        rates = [jnp.float32(0.5 / (1 + step)), jnp.float32(1 / (1 + step))]
        some = [in_order(x) for x in some]
        now, state = step_in_jax(learned, now, state, some, loss, rates, decays)
        expected.append([as_given(np.asarray(x)) for x in now])
    assert_same(found, expected, begin)


def test_a_zero_rate_moves_nothing_and_tensor_rates_work():
    start, grads = problem()
    params = parameters(start)
    run(params, grads[:2], LearnedOptimizer(params, "star-mnist-mlp", lr=0.0))
    for param, begin in zip(params, start, strict=True):
        assert np.array_equal(np.asarray(param.detach()), begin)
    one, other = parameters(start), parameters(start)
    expected = run(one, grads[:3], LearnedOptimizer(one, "star-mnist-mlp", lr=0.5))
    found = run(other, grads[:3], LearnedOptimizer(other, "star-mnist-mlp", lr=torch.tensor(0.5)))
    assert_same(found, expected, start)


def test_a_closure_is_called_with_gradients_and_its_loss_returned():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = LearnedOptimizer([param], "star-mnist-mlp")

    def closure():
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss.detach()

    assert float(optimizer.step(closure)) == 3.0
    assert float(optimizer.step(closure)) < 3.0
    assert LearnedOptimizer([param], "star-mnist-mlp").step() is None


def test_a_schedule_sees_the_loss_of_a_closure_or_of_an_argument(saved):
    start, grads = problem()
    start, grads, folder = start[4:5], [some[4:5] for some in grads[:5]], saved["celo"]
    params, others, blind = parameters(start), parameters(start), parameters(start)
    expected = run(params, grads, LearnedOptimizer(params, folder))
    optimizer, found = LearnedOptimizer(others, folder), []
    for some, loss in zip(grads, LOSSES, strict=False):
        set_gradients(others, some)
        optimizer.step(lambda loss=loss: torch.tensor([loss], requires_grad=True))
        found.append([param.detach().clone() for param in others])
    for one, other in zip(found[-1], expected[-1], strict=True):
        assert torch.equal(one, other)
    unseen = [None] * len(grads)
    without = run(blind, grads, LearnedOptimizer(blind, folder), losses=unseen)
    celo = optimizers.load(folder)
    assert_same(without, in_jax(celo, start, grads, losses=unseen), start, 2e-5)
    # The first two steps do not look at the loss; the third does.
    assert torch.equal(without[1][0], expected[1][0])
    assert not torch.equal(without[2][0], expected[2][0])


@pytest.mark.parametrize("schedule", ["cosine", "warmup-cosine"])
def test_schedulers_of_pytorch_are_the_schedules_of_this_library(schedule):
    lr, num_steps, warmup = torch.optim.lr_scheduler, 20, 2
    optimizer = LearnedOptimizer([torch.nn.Parameter(torch.ones(3))], "star-mnist-mlp")
    if schedule == "cosine":
        scheduler = lr.CosineAnnealingLR(optimizer, num_steps)
    else:
        rise = lr.LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1)
        fall = lr.CosineAnnealingLR(optimizer, num_steps - warmup)
        scheduler = lr.SequentialLR(optimizer, [rise, fall], [warmup])
    in_jax = optimizers.scheduled(optimizers.sgd(1.0), schedule, num_steps)
    update, state = jax.jit(in_jax.update), in_jax.init(jnp.zeros(()))
    for _ in range(num_steps + 1):
        factor, state = update(jnp.asarray(-1.0), state)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(factor), abs=1e-6)
        optimizer.step()
        scheduler.step()


@every_class
def test_a_gradient_scaler_skips_what_is_not_finite(name):
    start, grads = problem()
    params, others = parameters(start), parameters(start)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer, plain = LearnedOptimizer(params, name), LearnedOptimizer(others, name)
    scaler.scale(torch.zeros(()))
    found = []
    for step, some in enumerate(grads[:4]):
        set_gradients(params, some)
        for param in params:
            param.grad = param.grad * scaler.get_scale()
        if step == 2:
            params[0].grad = torch.full_like(params[0], math.inf)
        scaler.step(optimizer)
        scaler.update()
        found.append([param.detach().clone() for param in params])
    expected = run(others, [grads[0], grads[1], grads[3]], plain)
    assert_same([found[0], found[1], found[3]], expected, start)
    assert all(torch.equal(a, b) for a, b in zip(found[1], found[2], strict=True))


@every_class
def test_under_autocast_the_step_is_not_taken_in_low_precision(name):
    start, grads = problem()
    params, others = parameters(start), parameters(start)
    expected = run(others, grads[:2], LearnedOptimizer(others, name))
    optimizer = LearnedOptimizer(params, name)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(params, grads[:2], optimizer)
    assert_same(found, expected, start)


@every_class
def test_parameters_without_gradient_or_coordinates_stay(name):
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    params.append(torch.nn.Parameter(torch.ones(0, 3)))
    optimizer = LearnedOptimizer(params, name)
    params[0].grad, params[2].grad = torch.ones(3), torch.ones(0, 3)
    optimizer.step()
    assert not torch.equal(params[0].detach(), torch.ones(3))
    assert torch.equal(params[1].detach(), torch.ones(3))
    assert params[1] not in optimizer.state


@every_class_and_frame
def test_zero_and_huge_gradients_give_finite_parameters(optimizer_name):
    params = [torch.nn.Parameter(torch.ones(shape)) for shape in ((), (3,), (2, 3))]
    optimizer = LearnedOptimizer(params, optimizer_name)
    for scale in (0.0, 1e30, -1e30, 1e-30, 0.0):
        for param in params:
            param.grad = torch.full_like(param, scale)
        optimizer.step()
        assert all(torch.isfinite(param).all() for param in params), scale


@pytest.mark.slow
@every_class_and_frame
def test_a_compiled_step_is_the_same(optimizer_name):
    start, grads = problem()
    start, grads = start[:5], [some[:5] for some in grads]
    params, others = parameters(start), parameters(start)
    losses = [2.0] * 4
    expected = run(others, grads[:4], LearnedOptimizer(others, optimizer_name), losses=losses)
    optimizer = LearnedOptimizer(params, optimizer_name)
    compiled = torch.compile(optimizer.step)
    found = []
    for some in grads[:4]:
        set_gradients(params, some)
        compiled(loss=torch.tensor(2.0))
        found.append([param.detach().clone() for param in params])
    assert_same(found, expected, start, 2e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@every_class_and_frame
def test_on_cuda_the_same(optimizer_name):
    start, grads = problem()
    params = [torch.nn.Parameter(p.detach().cuda()) for p in parameters(start)]
    optimizer, found = LearnedOptimizer(params, optimizer_name), []
    for some, loss in zip(grads[:5], LOSSES, strict=False):
        for param, grad in zip(params, some, strict=True):
            param.grad = torch.from_numpy(np.array(grad)).cuda() + 0.1 * param.detach()
        optimizer.step(loss=loss)
        found.append([param.detach().cpu() for param in params])
    assert_same(found, in_jax(optimizers.load(optimizer_name), start, grads[:5]), start, 1e-4)


def test_what_cannot_work_is_refused_with_what_to_write():
    param = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(UnknownNameError, match="star-mnist-mlp"):
        LearnedOptimizer([param], "star-mnist")
    with pytest.raises(InvalidValueError, match="lr is -1"):
        LearnedOptimizer([param], "star-mnist-mlp", lr=-1.0)
    with pytest.raises(InvalidValueError, match=r"loss.mean\(\)"):
        LearnedOptimizer([param], "star-mnist-mlp").step(loss=torch.ones(2))
    with pytest.raises(InvalidValueError, match="a closure and a loss"):
        LearnedOptimizer([param], "star-mnist-mlp").step(lambda: 1.0, loss=1.0)
    for rate in (None, "1", torch.ones(2)):
        with pytest.raises(InvalidValueError, match=r"lr is .* one number, at least 0"):
            LearnedOptimizer([param], "star-mnist-mlp", lr=rate)
    with pytest.raises(InvalidValueError, match="the second argument says which optimizer"):
        LearnedOptimizer([param], 1e-3)
    for axes in ((1, 2), "stack", 3, (0, 0)):
        with pytest.raises(InvalidValueError, match=r"axes is .* \(0, 1, 2\) for a stack"):
            LearnedOptimizer([{"params": [param], "axes": axes}], "star-mnist-mlp")
    with pytest.raises(InvalidValueError, match="weight_decay is nan"):
        LearnedOptimizer([param], "star-mnist-mlp", weight_decay=math.nan)
    with pytest.raises(InvalidValueError, match="real numbers"):
        LearnedOptimizer([torch.ones(2, dtype=torch.complex64)], "star-mnist-mlp")
    table = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = LearnedOptimizer(table.parameters(), "star-mnist-mlp")
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidValueError, match="sparse=False"):
        optimizer.step()


@pytest.mark.parametrize(
    "odd",
    [
        {"lr": None},
        {"lr": -1.0},
        {"weight_decay": None},
        {"axes": "stack"},
        {"params": [torch.ones(2, dtype=torch.int32)]},
        {"params": [torch.ones(2), None]},
        {"params": [torch.ones(2, requires_grad=True) * 2]},
    ],
)
def test_a_refused_group_leaves_no_trace(odd):
    optimizer = LearnedOptimizer([torch.nn.Parameter(torch.ones(2))], "star-mnist-mlp")
    before = optimizer.state_dict()
    group = {"params": [torch.nn.Parameter(torch.ones(3))], **odd}
    with pytest.raises((InvalidValueError, TypeError, ValueError)):
        optimizer.add_param_group(group)
    assert optimizer.state_dict() == before
    assert set(group) == {"params", *odd}
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(3))]})


def steps(optimizer, count):
    (param,) = optimizer.param_groups[0]["params"]
    for _ in range(count):
        param.grad = torch.ones_like(param)
        optimizer.step()
    return param.detach().clone()


def test_a_step_past_the_told_length_is_zero_and_warns_once(recwarn):
    def made():
        return LearnedOptimizer([torch.nn.Parameter(torch.ones(3))], "general", num_steps=4)

    optimizer = made()
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    steps(optimizer, 3)
    again = pickle.loads(pickle.dumps(optimizer))
    before, end = steps(optimizer, 0), steps(optimizer, 1)
    assert not torch.equal(before, end)
    assert not recwarn
    with pytest.warns(UserWarning, match="step 5 of an optimizer for num_steps=4"):
        assert torch.equal(steps(optimizer, 1), end)
    assert torch.equal(steps(optimizer, 3), end)
    steps(again, 1)
    assert not recwarn
    with pytest.warns(UserWarning, match="step 5 of") as seen:
        steps(again, 1)
    assert seen[0].filename == __file__
    loaded = made()
    loaded.load_state_dict(optimizer.state_dict())
    loaded.step()
    (param,) = loaded.param_groups[0]["params"]
    param.grad = torch.ones(3)
    assert not recwarn
    with pytest.warns(UserWarning, match="step 9 of"):
        assert loaded.step(lambda: 2.0) == 2.0


def test_a_parameter_that_waits_is_not_at_its_end(recwarn):
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = LearnedOptimizer(params, "general", num_steps=4)
    for step in range(8):
        params[step % 2].grad, params[1 - step % 2].grad = torch.ones(3), None
        optimizer.step()
    assert not recwarn
    params[0].grad = torch.ones(3)
    with pytest.warns(UserWarning, match="step 5 of"):
        optimizer.step()


@pytest.mark.parametrize("name", optimizers.pretrained_names())
def test_a_length_that_changes_nothing_is_warned_of(name, recwarn):
    LearnedOptimizer([torch.nn.Parameter(torch.ones(3))], name, num_steps=10)
    found = [("changes nothing" in str(seen.message), seen.filename) for seen in recwarn]
    takes_one = getattr(optimizers.load(name), "num_steps", None) is not None
    assert found == ([] if takes_one else [(True, __file__)])


def test_files_that_hold_something_else_are_refused(tmp_path):
    param = torch.nn.Parameter(torch.ones(3))
    optimizers.save(tmp_path / "adam", optimizers.adam(0.1))
    with pytest.raises(FileFormatError, match=r"torch\.optim"):
        LearnedOptimizer([param], tmp_path / "adam")
    small = optimizers.get("lstm", hidden_size=3)
    optimizers.save(tmp_path / "lstm", small)
    path = tmp_path / "lstm" / "optimizer.json"
    path.write_text(path.read_text().replace('"hidden_size": 3', '"hidden_size": 4'))
    with pytest.raises(FileFormatError, match="shape"):
        LearnedOptimizer([param], tmp_path / "lstm")
    path.write_text(path.read_text().replace('"hidden_size"', '"hidden"'))
    with pytest.raises(FileFormatError, match="hidden"):
        LearnedOptimizer([param], tmp_path / "lstm")
    (tmp_path / "lstm" / "optimizer.safetensors").write_bytes(b"x")
    with pytest.raises(FileFormatError, match="safetensors"):
        LearnedOptimizer([param], tmp_path / "lstm")


def test_nothing_of_it_imports_jax():
    program = (
        "import sys, torch, optoscope.torch\n"
        "param = torch.nn.Parameter(torch.ones(3))\n"
        "param.grad = torch.ones(3)\n"
        "optoscope.torch.LearnedOptimizer([param], 'star-mnist-mlp').step()\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'jax', 'jaxlib', 'equinox', 'optax', 'jaxtyping'}, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_side_without_a_basis_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("optoscope.torch._eigenbases.LONGEST_SIDE", 4)
    optimizers.save(tmp_path, optimizers.get("general", refresh_every=2))
    # A basis for the outputs alone, for the inputs alone, and for neither.
    start, grads = problem(shapes=((3, 7), (7, 3), (5, 6)))
    params = parameters(start)
    trajectory = run(params, grads[:5], LearnedOptimizer(params, tmp_path))
    for before, after in itertools.pairwise(trajectory):
        for one, other in zip(before, after, strict=True):
            size = float((other - one).square().mean().sqrt())
            np.testing.assert_allclose(size, 1e-3, rtol=1e-3)
