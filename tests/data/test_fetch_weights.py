"""`optoscope fetch` and `optoscope import`, against a server on this machine."""

import dataclasses
import hashlib

import numpy as np
import pytest

from optoscope import optimizers
from optoscope.cli import main

GROUP_SIZES = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)


@pytest.fixture
def content(tmp_path):
    """Weights of Celo2's shapes."""
    shapes = {f"w0__{i}": (n, 8) for i, n in enumerate(GROUP_SIZES)}
    shapes |= {"b0": (8,), "w1": (8, 8), "b1": (8,), "w2": (8, 3), "b2": (3,)}
    generator = np.random.default_rng(0)
    arrays = {k: generator.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    np.savez(tmp_path / "made.npz", **arrays)
    return (tmp_path / "made.npz").read_bytes()


@pytest.fixture
def known(content, monkeypatch):
    """The table says that these are the published ones."""
    made = dataclasses.replace(
        optimizers.WEIGHTS["celo2"],
        url="http://127.0.0.1:9/weights.npz",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setitem(optimizers.WEIGHTS._entries, "celo2", made)
    return made


def test_fetched_kept_and_imported(serve, content, known, tmp_path, capsys):
    server, place = serve(), tmp_path / "data"
    (server.root / "celo2").mkdir()
    (server.root / "celo2" / "weights.npz").write_bytes(content)
    assert main(["fetch", "celo2", "--data-dir", str(place)]) == 0
    server.stop()
    assert main(["fetch", "celo2", "--data-dir", str(place)]) == 0
    path = place / "weights" / "celo2" / "weights.npz"
    assert path.read_bytes() == content
    shown = capsys.readouterr().out
    assert known.license in shown
    assert f"optoscope import celo2 {path}" in shown
    out = tmp_path / "imported"
    arguments = ["import", "celo2", str(path), "--out", str(out), "--learning-rate", "0.5"]
    assert main(arguments) == 0
    loaded = optimizers.load(out)
    np.testing.assert_allclose(loaded.learning_rate, 0.5, rtol=1e-6)
    metadata = optimizers.read_description(out)["metadata"]
    assert metadata["sha256"] == known.sha256
    assert metadata["cite"] == known.cite


def test_something_else_is_thrown_away(serve, known, tmp_path, capsys):
    server, place = serve(), tmp_path / "data"
    (server.root / "celo2").mkdir()
    (server.root / "celo2" / "weights.npz").write_bytes(b"something else")
    assert main(["fetch", "celo2", "--data-dir", str(place)]) == 2
    assert "its checksum is wrong" in " ".join(capsys.readouterr().err.split())
    assert not (place / "weights" / "celo2" / "weights.npz").exists()


def test_without_a_network_the_message_says_which_file_to_put_where(known, tmp_path, capsys):
    assert main(["fetch", "celo2", "--data-dir", str(tmp_path / "data")]) == 2
    shown = "".join(capsys.readouterr().err.split())
    assert "http://127.0.0.1:9/weights.npz" in shown
    assert str(tmp_path / "data/weights/celo2/weights.npz") in shown


def test_what_is_no_weight_file_is_one_message(tmp_path, capsys):
    (tmp_path / "a.npz").write_bytes(b"PK\3\4")
    out = tmp_path / "out"
    assert main(["import", "celo2", str(tmp_path / "a.npz"), "--out", str(out)]) == 2
    assert "cannot be read as a zip file" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


@pytest.mark.parametrize("name", optimizers.WEIGHTS.names())
def test_the_table_is_complete(name):
    known = optimizers.WEIGHTS[name]
    assert known.format in optimizers.PUBLISHED
    assert known.url.startswith("https://")
    assert len(known.sha256) == 64
    assert known.license
    assert known.cite
