"""Where others publish trained weights, and what is known of the files."""

from dataclasses import dataclass

from optoscope._core.registry import Registry


@dataclass(frozen=True)
class KnownWeights:
    """One published file of weights. None of it comes with this library.

    Args:
        format: the name for `load_published`.
        url: the address.
        size: bytes.
        sha256: of the file.
        license: under which it is published.
        cite: the work to cite.
    """

    format: str
    url: str
    size: int
    sha256: str
    license: str
    cite: str


_CELO_CITATION = (
    "A. Moudgil, B. Knyazev, G. Lajoie, E. Belilovsky: Celo: Training Versatile Learned "
    "Optimizers on a Compute Diet, 2025"
)
WEIGHTS: Registry[KnownWeights] = Registry("published weight file")
WEIGHTS.register(
    "celo",
    KnownWeights(
        "celo",
        "https://raw.githubusercontent.com/amoudgl/celo/3ad5317e47c9c08a787e3e060c7898ac6a1c1132"
        "/algoperf/submissions/celo/theta.state",
        149_216,
        "35683c6123069c101d62ec1f8b2e6d70d50a43e67ebe09953b27620a7dcb836b",
        "MIT, © 2025 Abhinav Moudgil",
        _CELO_CITATION,
    ),
)
WEIGHTS.register(
    "celo2",
    KnownWeights(
        "celo2",
        "https://raw.githubusercontent.com/Belilovsky-Lab/pylo"
        "/faf6fcb3665a9e7a3096521db027c639bc284e82/pylo/models/celo2_weights.pt",
        7_015,
        "eda7504f89616e60036c49aa1cf7b7d7a7212d5dfecdca3679249843268b8979",
        "BSD-3-Clause (PyLO's conversion; the original is MIT)",
        "Celo2, by the authors of Celo, at github.com/amoudgl/celo; PyLO, at "
        "github.com/Belilovsky-Lab/pylo",
    ),
)
