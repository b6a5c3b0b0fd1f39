"""Optimizers of a class of one's own are saved, and loaded only where the call trusts the class."""

import json
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optoscope import optimizers
from optoscope._core.errors import FileFormatError
from optoscope._core.trees import digest

PARAMS = {"a": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.ones(())}


class LearnedRate(optimizers.OptimizerModule):
    log_rate: jax.Array
    by_kind: dict[str, tuple[jax.Array, jax.Array]]
    power: float = eqx.field(static=True, default=1.0)
    sizes: tuple[int, ...] = eqx.field(static=True, default=(1, 2))

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        rate = jnp.exp(self.log_rate) * self.by_kind["all"][0]
        return jax.tree.map(lambda g: -rate * g**self.power, grads), state


class Made(optimizers.OptimizerModule):
    """Made by `create` of its `configuration()`: it holds a network, which no field can tell."""

    network: eqx.nn.MLP

    @classmethod
    def create(cls, key, width=4):
        return cls(eqx.nn.MLP(1, 1, width, 1, key=key))

    def configuration(self):
        return {"width": self.network.width_size}

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        step = jax.vmap(self.network)
        return jax.tree.map(lambda g: step(g.reshape(-1, 1)).reshape(g.shape), grads), state


class Holding(optimizers.OptimizerModule):
    what: object

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, **extra):
        return grads, state


def rate():
    both = (jnp.arange(3.0)[1], jnp.arange(3.0, dtype=jnp.float16))
    return LearnedRate(jnp.asarray(-2.5), {"all": both}, 2.0, (3,))


@pytest.mark.parametrize("make", [rate, lambda: Made.create(jax.random.key(1), 5)])
@pytest.mark.parametrize("by_name", [False, True])
def test_it_is_the_same_again_where_its_class_is_trusted(make, by_name, tmp_path, monkeypatch):
    optimizer = make()
    kind = type(optimizer)
    monkeypatch.setitem(sys.modules, kind.__module__, sys.modules[__name__])
    place = optimizers.save(tmp_path / "saved", optimizer, {"note": 1})
    path = f"{kind.__module__}:{kind.__name__}"
    assert optimizers.read_description(place)["class"] == path
    found = optimizers.load(place, trust=path if by_name else kind)
    assert type(found) is kind
    assert jax.tree.structure(found) == jax.tree.structure(optimizer)
    assert digest(jax.tree.leaves(found)) == digest(jax.tree.leaves(optimizer))
    np.testing.assert_array_equal(
        found.update(PARAMS, ())[0]["a"], optimizer.update(PARAMS, ())[0]["a"]
    )


def test_nothing_is_imported_unless_the_call_says_so(tmp_path):
    place = optimizers.save(tmp_path / "saved", rate())
    description = json.loads((place / "optimizer.json").read_text())
    (tmp_path / "wicked.py").write_text("print('ran')\n")
    description["class"] = "wicked:LearnedRate"
    (place / "optimizer.json").write_text(json.dumps(description))
    program = (
        "from optoscope import optimizers\n"
        "try:\n    optimizers.load('saved')\nexcept Exception as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "ran" not in done.stdout.split()
    assert "Loading it runs that class" in done.stdout
    assert 'trust="wicked:LearnedRate"' in done.stdout


@pytest.mark.parametrize(
    ("trust", "message"),
    [
        (None, r"say so with the class itself, optimizers.load\(…, trust=LearnedRate\)"),
        ("elsewhere:LearnedRate", "not of elsewhere:LearnedRate"),
        (Made, "not of .*:Made"),
    ],
)
def test_another_class_is_refused(trust, message, tmp_path):
    place = optimizers.save(tmp_path / "saved", rate())
    with pytest.raises(FileFormatError, match=message):
        optimizers.load(place, trust=trust)


def test_a_class_that_cannot_be_imported_or_has_changed_is_one_message(tmp_path):
    place = optimizers.save(tmp_path / "saved", rate())
    path = place / "optimizer.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"class": "nowhere_at_all:LearnedRate"}))
    with pytest.raises(FileFormatError, match=r"cannot be imported .*ModuleNotFoundError"):
        optimizers.load(place, trust="nowhere_at_all:LearnedRate")
    fields = description["configuration"]["fields"]
    del fields["power"]
    path.write_text(json.dumps(description | {"configuration": {"fields": fields}}))
    with pytest.raises(FileFormatError, match="the field 'power'"):
        optimizers.load(place, trust=LearnedRate)


@pytest.mark.parametrize("what", ["text", jnp.tanh, {1: jnp.ones(2)}])
def test_what_cannot_be_stored_is_refused_with_what_to_write(what, tmp_path):
    with pytest.raises(FileFormatError, match=r"what holds .*class method `create"):
        optimizers.save(tmp_path / "saved", Holding(what))
    assert not (tmp_path / "saved").exists()


def test_a_class_under_a_name_of_the_registry_needs_no_trust(tmp_path, monkeypatch):
    class Registered(Made):
        @property
        def registered_name(self):
            return "my-own"

    entry = optimizers.OptimizerEntry(Registered.create, "mine", learned=True)
    monkeypatch.setitem(optimizers.REGISTRY._entries, "my-own", entry)
    place = optimizers.save(tmp_path / "saved", Registered.create(jax.random.key(0)))
    assert type(optimizers.load(place)) is Registered
