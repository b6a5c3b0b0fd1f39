import inspect
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from optoscope import data, tasks
from optoscope._core.errors import InvalidValueError, OptoscopeError, UnknownNameError
from optoscope._core.kinds import check_kind


def test_a_person_can_guess_the_names_of_the_papers_tasks():
    for name in ("digits-mlp-sigmoid", "mnist-mlp-sigmoid", "mnist-mlp-batch-norm", "quadratic"):
        assert name in tasks.names()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("digits-mlp-sigmod", "digits-mlp-sigmoid"),
        ("quadratics", "quadratic"),
        ("mnist-mlp-batchnorm", "mnist-mlp-batch-norm"),
    ],
)
def test_an_unknown_name_suggests(wrong, right):
    with pytest.raises(UnknownNameError, match="unknown task") as caught:
        tasks.get(wrong)
    assert right in caught.value.suggestions


@pytest.mark.parametrize("name", tasks.names())
def test_an_unknown_option_lists_what_there_is(name):
    with pytest.raises(InvalidValueError, match=f"task '{name}' has no option 'color'; it takes "):
        tasks.get(name, color=1)


@pytest.mark.parametrize("name", tasks.names())
def test_every_entry_says_what_it_is_in_one_line(name):
    entry = tasks.REGISTRY[name]
    assert 10 < len(entry.description) < 100
    assert "\n" not in entry.description


@pytest.mark.parametrize("name", tasks.names())
def test_defaults_are_of_the_kind_that_the_option_takes(name):
    entry = tasks.REGISTRY[name]
    assert set(entry.option_defaults) <= entry.known_options
    for option, value in entry.option_defaults.items():
        check_kind(option, value, entry.option_types[option])
    # What an option is, if it is not given, depends on the scale alone.
    assert set(entry.option_defaults) == entry.known_options or "scale" in entry.known_options


@pytest.mark.parametrize(
    "name", [name for name in tasks.names() if tasks.REGISTRY[name].dataset in (None, "digits")]
)
def test_the_defaults_said_are_those_taken(name):
    given = tasks.get(name, **tasks.REGISTRY[name].option_defaults)
    assert eqx.tree_equal(given, tasks.get(name))


def test_options_override_the_named_network():
    task = tasks.get(
        "digits-mlp-sigmoid", hidden=(3,), activation="tanh", norm="batch", batch_size=2
    )
    metadata = task.metadata
    assert metadata["widths"] == [64, 3, 10]
    assert (metadata["activation"], metadata["norm"], metadata["batch_size"]) == (
        "tanh",
        "batch",
        2,
    )
    assert metadata["name"] == "digits-mlp-sigmoid"


@pytest.mark.parametrize(
    "options",
    [{"hidden": (0,)}, {"batch_size": 0}, {"activation": "swish"}, {"norm": "group"}],
)
def test_wrong_options_of_an_image_task(options):
    with pytest.raises(OptoscopeError, match=r"must be|needs an input|unknown (activation|norm)"):
        tasks.get("digits-mlp-sigmoid", **options)


def test_rows_and_columns_of_the_quadratics():
    assert tasks.get("quadratic").sample(jax.random.key(0)).matrix.shape == (10, 5)
    assert tasks.get("quadratic-ill-conditioned").sample(jax.random.key(0)).matrix.shape == (5, 5)
    task = tasks.get("quadratic", rows=3, columns=2).sample(jax.random.key(0))
    assert task.matrix.shape == (3, 2)


@pytest.mark.parametrize(
    ("shape", "network", "count"),
    [((28, 28, 1), "mlp-128-128", 118_282), ((32, 32, 3), "cnn-mean-pool", 56_970)],
)
def test_the_networks_paper_c_meta_trains_on(shape, network, count, monkeypatch):
    part = data.Split(jnp.zeros((3, *shape)), jnp.arange(3))
    monkeypatch.setattr(
        data, "load", lambda name, **_: data.Dataset(name, part, part, part, num_classes=10)
    )
    for dataset in ("fashion-mnist", "mnist", "cifar10", "digits"):
        task = tasks.get(f"{dataset}-{network}")
        metadata = task.metadata
        assert metadata["num_params"] == count
        assert metadata["batch_size"] == 128
        assert metadata["initialization"] == "truncated_normal"
        assert metadata["activation"] == "relu"
    params = task.init(jax.random.key(0))
    assert all(not entry["bias"].any() for entry in params.values())


# What a file can say in the place of an option, and a person type.
WRONG = (
    "x", "", "\0", -1, 0, 10**9, 2**31, 10**400, 1e308, -1e308, math.nan, None, True,
    [], ["x"], [0], [10**9], {"a": 1},
)  # fmt: skip


def _of_every_kind():
    """One task of each function that builds tasks, with what makes it quick."""
    found = {}
    for name in tasks.names():
        entry = tasks.REGISTRY[name]
        if name in tasks.UNSEEN:
            if entry.dataset != "tinyshakespeare":
                found[tuple(entry.option_types)] = (name, {"scale": "smoke", "dataset": "digits"})
        elif entry.dataset in (None, "digits"):
            found[entry.dataset, tuple(entry.option_types)] = (name, {})
    return found.values()


@pytest.mark.parametrize(("name", "options"), _of_every_kind())
def test_every_option_is_checked_before_it_is_used(name, options):
    refused = []
    for option, kind in tasks.REGISTRY[name].option_types.items():
        for value in WRONG:
            try:
                tasks.get(name, **(options | {option: value}))
            except OptoscopeError as error:
                refused.append(str(error))
        with pytest.raises(OptoscopeError):
            tasks.get(name, **(options | {option: {"a": 1}}))
        assert kind is not inspect.Parameter.empty, option
    assert not [message for message in refused if "\n" in message]
    assert refused or not tasks.REGISTRY[name].option_types


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits-mlp-relu", {"hidden": (10**9,)}),
        ("digits-mlp-relu", {"batch_size": 2**31 - 1}),
        ("quadratic", {"columns": 10**9, "rows": 10**3}),
        ("two-moons", {"num_points": 10**11 // 32}),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_made(name, options):
    with pytest.raises(InvalidValueError, match=r"this needs at least .*B of memory"):
        tasks.get(name, **options)


def test_the_name_of_a_task_is_no_option():
    with pytest.raises(InvalidValueError, match="has no option 'name'"):
        tasks.get("quadratic", **{"name": "x"})
