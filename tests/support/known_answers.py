"""Statistics of claims on records whose answer can be worked out by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from optoscope.papers._claims import Claim


@dataclass(frozen=True)
class Answer:
    """What a statistic says of made-up records.

    Args:
        statistic: its name.
        reads: what a protocol reads, its first argument.
        arguments: the others, before the records.
        records: the parts' arrays; what the protocol must not read is left out.
        expected: one number a repetition; booleans may come in groups.
    """

    statistic: str
    reads: str
    arguments: tuple[Any, ...]
    records: Mapping[str, Mapping[str, Any]]
    expected: Sequence[float] | Sequence[bool] | Sequence[Sequence[bool]]

    def check(self, statistics: ModuleType) -> None:
        """Asserts the answer, and that only booleans come as booleans."""
        records = {
            name: {key: np.asarray(value) for key, value in part.items()}
            for name, part in self.records.items()
        }
        with np.errstate(invalid="ignore", divide="ignore"):
            found = getattr(statistics, self.statistic)(self.reads, *self.arguments, records)
        expected = np.asarray(self.expected)
        assert found.shape == expected.shape
        assert (found.dtype == bool) == (expected.dtype == bool)
        np.testing.assert_allclose(
            found.astype(float), expected.astype(float), rtol=1e-9, atol=1e-12
        )

    def __str__(self) -> str:
        return f"{self.statistic}-{self.reads}"


def without_answer(claims: Sequence[Claim], answers: Sequence[Answer]) -> set[tuple[str, str]]:
    """What claims read and no answer is known for."""
    needed = {
        (reading.statistic.func.__name__, str(reading.statistic.args[0]))
        for claim in claims
        for reading in claim.readings.values()
    }
    return needed - {(answer.statistic, answer.reads) for answer in answers}
