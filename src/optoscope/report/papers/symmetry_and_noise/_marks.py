"""What the figures of paper A share: names and their looks."""

from collections.abc import Iterable

from optoscope.report._style import Looks, looks

NAMES = ("momentum", "adam", "lion", "lstm")
SHOWN = {"momentum": "SGD, momentum", "adam": "Adam", "lion": "Lion", "lstm": "learned (LSTM)"}
SHOWN |= {"sgd": "gradient descent", "rnn": "learned (GRU)"}
AGGREGATES = {"sum_abs": "Σ|⟨u, ξ⟩|  (paper)", "cosine": "cosine  (corrected)"}


def look(names: Iterable[str]) -> Looks:
    return looks(names, ("lstm", "rnn"))
