"""What the figures of paper A share: names and their looks."""

from collections.abc import Iterable

from optoscope.report._style import Looks, looks

NAMES = ("momentum", "adam", "lion", "lstm")
SHOWN = {"momentum": "SGD, momentum", "adam": "Adam", "lion": "Lion", "lstm": "learned (LSTM)"}
SHOWN |= {"sgd": "gradient descent", "rnn": "learned (GRU)"}
# Those that may stand beside the scale's own, each measured in a part of its own.
GUESTS = {
    "printed": "LSTM, paper's protocol",
    "dm": "L2O-DM",
    "dm_cl": "L2O-DM, curriculum",
    "dm_il": "L2O-DM, imitation",
    "dm_cl_il": "L2O-DM, both",
}
SHOWN |= GUESTS
AGGREGATES = {"sum_abs": "Σ|⟨u, ξ⟩|  (paper)", "cosine": "cosine  (corrected)"}


def look(names: Iterable[str]) -> Looks:
    """How each is drawn; colors go by the order of names, in which guests follow the own LSTM."""
    keys = {name: f"lstm {name}" if name in GUESTS else name for name in names}
    found = looks(keys.values(), ("lstm", "rnn", *(f"lstm {name}" for name in GUESTS)))
    return {name: found[key] for name, key in keys.items()}
