import contextlib
import json
import os
import pickle
import resource
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from optoscope import optimizers
from optoscope._core.errors import (
    FileFormatError,
    OptoscopeError,
    RunDirectoryError,
    UnknownNameError,
)
from optoscope._core.trees import digest
from support.registered import as_registered

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def perturbed(optimizer):
    return jax.tree.map(lambda leaf: leaf * 1.1 + 1e-7, optimizer)


@pytest.fixture
def saved(tmp_path):
    return optimizers.save(tmp_path / "saved", optimizers.get("lstm", hidden_size=2))


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    """For property tests: one folder for all examples, mended after each."""
    folder = tmp_path_factory.mktemp("once")
    return optimizers.save(folder, optimizers.get("aggmo"))


def describe(folder, **changes):
    path = folder / "optimizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def reweigh(folder, change):
    weights = load_file(folder / "optimizer.safetensors")
    change(weights)
    save_file(weights, folder / "optimizer.safetensors")


@pytest.mark.parametrize("name", optimizers.names())
def test_round_trip_is_bit_identical(name, tmp_path):
    optimizer = perturbed(as_registered(name))
    metadata = {"meta_steps": 3, "task": "digits"}
    folder = optimizers.save(tmp_path / "a" / "b", optimizer, metadata)
    loaded = optimizers.load(folder)
    assert type(loaded) is type(optimizer)
    assert digest(loaded) == digest(optimizer)
    assert loaded.configuration() == optimizer.configuration()
    description = optimizers.read_description(folder)
    assert description["class"] == name
    assert description["metadata"] == metadata
    assert sorted(path.name for path in folder.iterdir()) == [
        "optimizer.json",
        "optimizer.safetensors",
    ]


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.get(
            "lstm", hidden_size=3, num_layers=3, update_scale=1, exponent=7.5, log_offset=1e-8
        ),
        optimizers.get("aggmo", betas=(0.1, 0.2)),
    ],
    ids=["lstm", "aggmo"],
)
def test_a_configuration_that_is_not_the_default_survives(optimizer, tmp_path):
    loaded = optimizers.load(optimizers.save(tmp_path, optimizer))
    assert digest(loaded) == digest(optimizer)
    assert loaded.configuration() == optimizer.configuration()


def test_a_run_directory_gives_its_exported_optimizer(saved, tmp_path):
    saved.rename(tmp_path / "optimizer")
    assert isinstance(optimizers.load(tmp_path), optimizers.LSTMOptimizer)


def test_a_composition_is_not_saved(tmp_path):
    mixed = optimizers.interpolate(optimizers.sgd(), optimizers.adam(), 0.5)
    with pytest.raises(FileFormatError, match="class Interpolation cannot be saved"):
        optimizers.save(tmp_path / "out", mixed)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("metadata", [{"loss": float("nan")}, {"thing": object()}])
def test_metadata_that_json_cannot_say_changes_nothing(saved, metadata):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises((ValueError, TypeError), match="JSON"):
        optimizers.save(saved, optimizers.get("sgd"), metadata)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_full_disk_is_one_message_and_changes_nothing(saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(RunDirectoryError, match="cannot write"):
            optimizers.save(saved, optimizers.get("lstm"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_an_unknown_path_or_name(tmp_path):
    with pytest.raises(UnknownNameError, match="unknown saved optimizer"):
        optimizers.load(tmp_path / "absent")
    with pytest.raises(FileFormatError, match="holds no optimizer"):
        optimizers.load(tmp_path)


def test_wrong_shape(saved):
    reweigh(saved, lambda weights: weights.update(readout=np.zeros(3, np.float32)))
    with pytest.raises(FileFormatError, match=r"readout has shape \(3,\).*asks for \(2,\)"):
        optimizers.load(saved)


def test_wrong_type(saved):
    reweigh(saved, lambda weights: weights.update(readout=np.zeros(2, np.int32)))
    with pytest.raises(FileFormatError, match=r"type int32.*asks for .* one of the types float32"):
        optimizers.load(saved)


def test_missing_and_extra_leaves(saved):
    reweigh(saved, lambda weights: weights.pop("readout_bias"))
    with pytest.raises(FileFormatError, match="'readout_bias' is in one of them only"):
        optimizers.load(saved)
    reweigh(saved, lambda w: w.update(readout_bias=np.zeros((), np.float32), zebra=np.zeros(1)))
    with pytest.raises(FileFormatError, match="'zebra' is in one of them only"):
        optimizers.load(saved)


def test_unknown_class_suggests(saved):
    describe(saved, **{"class": "lstmm"})
    with pytest.raises(FileFormatError, match=r"optimizer\.json: .*Did you mean 'lstm'"):
        optimizers.load(saved)


@pytest.mark.parametrize("version", [2, 1000, "1", None, 1.5])
def test_another_version(saved, version):
    describe(saved, version=version)
    with pytest.raises(FileFormatError, match="reads up to 1"):
        optimizers.load(saved)


@pytest.mark.parametrize("text", ["[]", "3", '"lstm"', "null", "{}", '{"format": "other"}'])
def test_json_that_does_not_describe_an_optimizer(saved, text):
    (saved / "optimizer.json").write_text(text)
    with pytest.raises(FileFormatError, match="does not describe an optimizer"):
        optimizers.load(saved)


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("lstm", {"hidden_size": "two"}),
        ("lstm", {"hidden_size": 2.5}),
        ("lstm", {"hidden_size": None}),
        ("lstm", {"hidden_size": 10**30}),
        ("lstm", {"hidden_size": 10**12}),
        ("lstm", {"key": 1}),
        ("lstm", {"name": "sgd"}),
        ("lstm", {"color": 1}),
        ("sgd", {"learning_rate": "fast"}),
        ("sgd", {"learning_rate": [1, [2]]}),
        ("aggmo", {"betas": []}),
        ("aggmo", {"betas": 1}),
        ("aggmo", {"betas": "abc"}),
    ],
)
def test_a_configuration_that_cannot_be(saved, name, configuration):
    describe(saved, **{"class": name, "configuration": configuration})
    with pytest.raises(FileFormatError, match="saved/optimizer"):
        optimizers.load(saved)


def test_metadata_is_an_object_or_missing(saved):
    describe(saved, metadata=["digits"])
    with pytest.raises(FileFormatError, match="the metadata must be an object"):
        optimizers.load(saved)
    path = saved / "optimizer.json"
    description = json.loads(path.read_text())
    del description["metadata"]
    path.write_text(json.dumps(description))
    assert optimizers.read_description(saved)["metadata"] == {}


@pytest.mark.parametrize("length", [0, 7, 8, 60, -1])
def test_truncated_weights(saved, length):
    path = saved / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FileFormatError, match=r"safetensors cannot be read as safetensors"):
        optimizers.load(saved)


def test_missing_weights(saved):
    (saved / "optimizer.safetensors").unlink()
    with pytest.raises(FileFormatError, match=r"optimizer\.safetensors does not exist"):
        optimizers.load(saved)
    (saved / "optimizer.safetensors").mkdir()
    with pytest.raises(FileFormatError, match="it is a folder, not a file"):
        optimizers.load(saved)


def test_a_file_with_a_hole_is_not_read(saved):
    with (saved / "optimizer.safetensors").open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(FileFormatError, match=r"has 2,147,483,648 bytes, and such a file has at"):
        optimizers.load(saved)


FLOATS = ("float32", "float64", "float16", "bfloat16")


def laid_out(array, layout):
    """The same values, elsewhere in memory."""
    if layout == "fortran":
        return np.asarray(array, order="F")
    if layout == "reversed":
        return array[tuple(slice(None, None, -1) for _ in array.shape)].copy()[
            tuple(slice(None, None, -1) for _ in array.shape)
        ]
    if layout == "slice":
        wide = np.zeros((*array.shape, 2), array.dtype)
        wide[..., 1] = array
        return wide[..., 1]
    if layout == "swapped" and array.dtype.name != "bfloat16":
        return array.astype(array.dtype.newbyteorder("S"))
    return array


@quick
@given(
    dtype=st.sampled_from(FLOATS),
    layout=st.sampled_from(["plain", "fortran", "reversed", "slice", "swapped"]),
    seed=st.integers(0, 1000),
)
def test_every_precision_and_layout_comes_back_bit_for_bit(saved_once, dtype, layout, seed):
    generator = np.random.default_rng(seed)
    kind = jnp.dtype(dtype)
    optimizer = jax.tree.map(
        lambda leaf: laid_out(np.asarray(generator.normal(size=leaf.shape), kind), layout),
        optimizers.get("lstm", hidden_size=3),
    )
    folder = saved_once / "layouts"
    loaded = optimizers.load(optimizers.save(folder, optimizer))
    for (name, leaf), (_, other) in zip(
        optimizers.named_leaves(optimizer), optimizers.named_leaves(loaded), strict=True
    ):
        assert other.dtype == kind, name
        np.testing.assert_array_equal(np.asarray(other), leaf.astype(kind), name)
    # The format's own reader finds the same.
    if dtype != "bfloat16":
        other = load_file(folder / "optimizer.safetensors")["layers[0].weights"]
        np.testing.assert_array_equal(other, optimizer.layers[0].weights)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (np.zeros((), np.int32), r"readout_bias has shape \(\) and type int32"),
        (np.zeros((), np.complex64), "readout_bias has shape .* and type complex64"),
        (np.zeros((), object), "readout_bias has shape .* and type object"),
        (np.zeros(4, np.float32), r"readout_bias has shape \(4,\).*asks for \(\)"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(tmp_path, leaf, message):
    changed = eqx.tree_at(lambda o: o.readout_bias, optimizers.get("lstm", hidden_size=3), leaf)
    with pytest.raises(FileFormatError, match=f"cannot be saved.*{message}"):
        optimizers.save(tmp_path / "out", changed)
    assert not (tmp_path / "out").exists()


def test_a_class_of_ones_own_is_not_saved_under_its_parents_name(tmp_path):
    class Mine(optimizers.LSTMOptimizer):
        pass

    with pytest.raises(FileFormatError, match="class Mine cannot be saved: it is not what 'lstm'"):
        optimizers.save(tmp_path / "out", Mine.create(jax.random.key(0)))


def test_a_plain_number_is_a_weight_of_the_usual_precision(tmp_path):
    optimizer = eqx.tree_at(
        lambda o: o.hyperparameters["learning_rate"], optimizers.get("sgd"), 0.25
    )
    loaded = optimizers.load(optimizers.save(tmp_path, optimizer))
    assert loaded.hyperparameters["learning_rate"] == np.float32(0.25)


DIGESTS = """
import jax
from optoscope import optimizers
from optoscope._core.trees import digest
print(jax.config.jax_enable_x64)
for name in optimizers.pretrained_names():
    optimizer = optimizers.load(name)
    params = {"w": jax.numpy.ones((3, 2), "float32"), "b": jax.numpy.ones(2, "float32")}
    # Types alone: nothing is compiled.
    updates, _ = jax.eval_shape(lambda p: optimizer.update(p, optimizer.init(p), p), params)
    assert updates["w"].dtype == "float32"
    print(name, digest(optimizer))
"""


def test_a_readers_flag_does_not_change_what_a_file_holds():
    found = subprocess.run(
        [sys.executable, "-c", DIGESTS],
        env=os.environ | {"JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    own = [f"{name} {digest(optimizers.load(name))}" for name in optimizers.pretrained_names()]
    assert found.stdout.splitlines() == ["True", *own]
    assert len(own) >= 10


@pytest.mark.parametrize("kind", ["F8_E4M3", "BF16", "F4", "X"])
def test_types_numpy_does_not_have(saved, kind):
    header = json.dumps({"readout": {"dtype": kind, "shape": [2], "data_offsets": [0, 2]}}).encode()
    content = len(header).to_bytes(8, "little") + header + b"\0\0"
    (saved / "optimizer.safetensors").write_bytes(content)
    with pytest.raises(FileFormatError):
        optimizers.load(saved)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("file", ["optimizer.safetensors", "optimizer.json"])
def test_a_pickle_is_never_executed(saved, tmp_path, file):
    (saved / file).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(FileFormatError):
        optimizers.load(saved)
    assert not (tmp_path / "exploded").exists()
    pickle.loads((saved / file).read_bytes()).close()
    assert (tmp_path / "exploded").exists(), "the bomb itself must work"


def load_or_refuse(folder, file, content):
    path = folder / file
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with contextlib.suppress(OptoscopeError):
            optimizers.load(folder)
    finally:
        path.write_bytes(before)


@quick
@given(content=st.binary(max_size=200))
@pytest.mark.parametrize("file", ["optimizer.safetensors", "optimizer.json"])
def test_random_bytes_are_refused(saved_once, file, content):
    load_or_refuse(saved_once, file, content)


@quick
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_one_damaged_byte_is_read_or_refused(saved_once, position, value):
    content = bytearray((saved_once / "optimizer.safetensors").read_bytes())
    content[position % len(content)] = value
    load_or_refuse(saved_once, "optimizer.safetensors", bytes(content))


@quick
@given(
    description=st.dictionaries(
        st.sampled_from(["format", "version", "class", "configuration", "metadata"]), JSON
    ),
    configuration=st.dictionaries(
        st.sampled_from(["betas", "learning_rate", "hidden_size", "num_layers", "key"]), JSON
    ),
    name=st.sampled_from(optimizers.names()),
)
def test_random_descriptions_are_read_or_refused(saved_once, description, configuration, name):
    sound = json.loads((saved_once / "optimizer.json").read_text())
    load_or_refuse(saved_once, "optimizer.json", json.dumps(sound | description).encode())
    changed = sound | {"class": name, "configuration": configuration}
    load_or_refuse(saved_once, "optimizer.json", json.dumps(changed).encode())


def test_as_optax_of_every_kind():
    plain = optax.GradientTransformation(optax.sgd(1.0).init, optax.sgd(1.0).update)
    for optimizer in (plain, optax.adam(0.1), optimizers.sgd(0.1)):
        assert isinstance(optimizers.as_optax(optimizer), optax.GradientTransformationExtraArgs)
    whole = optax.with_extra_args_support(optax.sgd(0.1))
    assert optimizers.as_optax(whole) is whole


def test_named_leaves_are_paths_in_the_order_of_flattening():
    optimizer = optimizers.get("lstm", hidden_size=2)
    named = list(optimizers.named_leaves(optimizer))
    assert [name for name, _ in named][:2] == ["layers[0].weights", "layers[0].bias"]
    for (_, leaf), other in zip(named, jax.tree.leaves(optimizer), strict=True):
        assert leaf is other
    assert eqx.tree_equal(optimizers.get("lstm"), optimizers.get("lstm", key=jax.random.key(0)))
    assert not np.any(
        optimizers.get("lstm", key=jax.random.key(1)).readout == optimizers.get("lstm").readout
    )


def test_unknown_names_and_arguments():
    with pytest.raises(UnknownNameError, match=r"unknown optimizer 'adm'\. Did you mean 'adam'"):
        optimizers.get("adm")
    with pytest.raises(OptoscopeError, match="'adam' has no argument 'rate'; it takes learning_ra"):
        optimizers.get("adam", rate=1.0)
    assert jnp.ndim(optimizers.get("sgd").hyperparameters["learning_rate"]) == 0
