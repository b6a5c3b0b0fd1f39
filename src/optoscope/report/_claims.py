"""The content of `claims.json`: what a paper says, what was measured, and the verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from optoscope._core.criteria import Criterion, Relation, Verdict
from optoscope._core.errors import FileFormatError
from optoscope._core.estimates import Estimate
from optoscope._core.files import read_json
from optoscope.report._checks import (
    as_estimate,
    as_format,
    as_mapping,
    as_number,
    as_sequence,
    as_text,
)
from optoscope.report._reading import parsed

CLAIMS_FORMAT = "optoscope/claims"
CLAIMS_VERSION = 1


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, measured by one protocol.

    Args:
        id: of the statement; unique together with the protocol.
        paper: who says it.
        figure: where.
        statement: what it says.
        protocol: whose way of measuring it is ("paper", "released", "corrected").
        scale: at which it was measured.
        quantity: what was measured, in words.
        unit: of the quantity.
        criterion: where the quantity is to lie if the statement is true.
        repeated_over: what a repetition is ("meta-seed", "run", "problem", "task").
        chosen: whether somebody chose these repetitions, so that they stand for no others.
        repetitions: one number each; a share has a 1 where it happened.
        estimate: of the quantity.
        verdict: what follows from the criterion.
        revised: why and how the way of measuring was changed after a first look at results;
            empty where it was not.
    """

    id: str
    paper: str
    figure: str
    statement: str
    protocol: str
    scale: str
    quantity: str
    unit: str
    criterion: Criterion
    repeated_over: str
    chosen: bool
    repetitions: tuple[float, ...]
    estimate: Estimate
    verdict: Verdict
    revised: str = ""

    def as_json(self) -> dict[str, Any]:
        """The claim as an entry of `claims.json`, which `from_json` reads."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        return texts | {
            "criterion": {"relation": self.criterion.relation, "bound": self.criterion.bound},
            "repeated_over": {"unit": self.repeated_over, "chosen": self.chosen},
            "repetitions": [x if math.isfinite(x) else None for x in self.repetitions],
            "estimate": self.estimate.as_json(),
            "verdict": self.verdict,
        }

    @classmethod
    def from_json(cls, value: Any) -> "Claim":
        """Checks and converts an entry of `claims.json`.

        Raises:
            FileFormatError: something is missing or of the wrong kind, or a verdict has no
                interval to rest on.
        """
        fields = as_mapping(value, "a claim")
        name = f"claim {fields.get('id')!r}"
        texts = {word: as_text(fields.get(word), f"{word!r} of {name}") for word in _TEXTS}
        criterion = as_mapping(fields.get("criterion"), f"'criterion' of {name}")
        relation = _one_of(get_args(Relation), criterion.get("relation"), f"the relation of {name}")
        verdict = _one_of(get_args(Verdict), fields.get("verdict"), f"the verdict of {name}")
        over = as_mapping(fields.get("repeated_over"), f"'repeated_over' of {name}")
        repetitions = as_sequence(fields.get("repetitions"), f"'repetitions' of {name}")
        claim = cls(
            **texts,
            criterion=Criterion(relation, as_number(criterion.get("bound"), "'bound'")),
            repeated_over=as_text(over.get("unit"), f"'unit' of 'repeated_over' of {name}"),
            chosen=bool(over.get("chosen")),
            repetitions=tuple(as_number(one, f"a repetition of {name}") for one in repetitions),
            estimate=as_estimate(fields.get("estimate"), f"'estimate' of {name}"),
            verdict=verdict,
        )
        if verdict != "inconclusive" and not (claim.chosen or claim.estimate.has_ends):
            raise FileFormatError(f"{name} has the verdict {verdict!r} but no interval")
        return claim

    @property
    def measured(self) -> bool:
        """Whether there was anything to measure: a scale can leave tasks out."""
        return self.estimate.count > 0

    @property
    def num_met(self) -> int:
        """How many of the repetitions meet the criterion by themselves."""
        return int(self.criterion.met(np.asarray(self.repetitions, np.float64)).sum())


_TEXTS = (
    "id", "paper", "figure", "statement", "protocol", "scale", "quantity", "unit", "revised",
)  # fmt: skip


def _one_of(allowed: tuple[str, ...], value: Any, what: str) -> Any:
    if value not in allowed:
        raise FileFormatError(f"{what} is {value!r}, not one of {', '.join(allowed)}")
    return value


def claims_as_json(claims: Sequence[Claim]) -> dict[str, Any]:
    """The content of `claims.json`."""
    entries = [claim.as_json() for claim in claims]
    return {"format": CLAIMS_FORMAT, "version": CLAIMS_VERSION, "claims": entries}


def claims_from_json(value: Any) -> tuple[Claim, ...]:
    """Checks and converts the content of `claims.json`.

    Raises:
        FileFormatError: it is something else, is from a newer version, or is damaged.
    """
    if isinstance(value, list):
        raise FileFormatError(
            "it is a list, as written before claims had a format; run the command that made it "
            "again with the same --out, which reuses what is finished"
        )
    fields = as_format(value, CLAIMS_FORMAT, CLAIMS_VERSION)
    return tuple(Claim.from_json(one) for one in as_sequence(fields.get("claims"), "'claims'"))


def read_claims(path: str | Path) -> tuple[Claim, ...]:
    """The claims of a `claims.json`.

    Raises:
        RunDirectoryError: it cannot be read, or does not hold claims.
    """
    return parsed(Path(path), read_json, claims_from_json)
