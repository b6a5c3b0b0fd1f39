"""What stands at the head of paper A's page."""

from collections.abc import Mapping, Sequence

from optoscope.report._claim_words import SIGNS
from optoscope.report._claims import Claim
from optoscope.report._summary import format_number
from optoscope.report.papers._figure import PageWords, Records, Table
from optoscope.report.papers._statements import (
    Statement,
    percent_below,
    preferred,
    times,
    told,
)
from optoscope.report.papers.symmetry_and_noise._marks import GUESTS

_DEVIATIONS = {"leaky-relu": "4", "batch-norm": "4", "sigmoid": "10"}
_PENALTIES = {"leaky-relu": "5", "batch-norm": "5", "sigmoid": "10"}
_NOISE = {"leaky-relu": "8", "batch-norm": "12", "sigmoid": "11"}
_SIZES = {"leaky-relu": "14", "batch-norm": "13", "sigmoid": "9"}
_PLACES = {"leaky-relu": "leaky ReLU", "batch-norm": "batch norm", "sigmoid": "sigmoid"}


def _on(claim: str, figures: Mapping[str, str], network: str = "{}") -> dict[str, tuple[str, ...]]:
    """The claims of one kind by the network that they speak of."""
    return {
        place: (f"A{figures[name]}-{claim}-{network.format(name)}",)
        for name, place in _PLACES.items()
    }


STATEMENTS = (
    Statement(
        "The learned optimizer trains faster than tuned SGD, Adam and Lion",
        "Its mean loss over the first steps lies below that of the best of the three by",
        _on("faster", _DEVIATIONS),
        "better",
        percent_below,
    ),
    Statement(
        "Learned updates leave the symmetry further than SGD's and Adam's",
        "Decades by which their cosine to the symmetry is the larger one",
        _on("above", _DEVIATIONS),
        "symmetry",
    ),
    Statement(
        "Learned updates leave it most at the beginning",
        "Decades by which the deviation is larger in the first tenth of a run than in its second "
        "half",
        _on("early", _DEVIATIONS),
        "symmetry",
    ),
    Statement(
        "Published L2O-DM leaves it too",
        "Decades by which it does, more than SGD and Adam",
        _on("above", _DEVIATIONS, "{}-dm"),
        "symmetry",
    ),
    Statement(
        "A penalty on leaving it slows training",
        "Decades by which the mean loss grows under the strongest penalty",
        _on("slower-penalty", _PENALTIES),
        "symmetry",
    ),
    Statement(
        "Some strength of that penalty helps",
        "Decades by which the mean loss falls under the best of them",
        {"": ("A-sweet-spot",)},
        "symmetry",
    ),
    Statement(
        "The noise of gradients is heavy-tailed",
        "α of Gaussian noise with the same covariance less α of the gradients",
        _on("gradients", _NOISE),
        "noise",
    ),
    Statement(
        "Learned updates are less heavy-tailed than the gradients",
        "α of the updates less α of the gradients",
        _on("attenuates", _NOISE),
        "noise",
    ),
    Statement(
        "The covariance of updates has a larger top eigenvalue from SGD to Adam, Lion and the "
        "learned optimizer",
        "Decades by which it rises from one to the next, over the squared mean update, the least",
        _on("spectrum", _NOISE),
        "noise",
    ),
    Statement(
        "The loss of the learned optimizer rises again late in long runs",
        "Decades by which it does from the middle to the last tenth",
        {place: ids for place, ids in _on("late-loss", _NOISE).items() if place != "leaky ReLU"},
        "lasting",
    ),
    Statement(
        "The learned optimizer's first updates are its largest",
        "Decades by which the first one exceeds all later ones",
        _on("first", _SIZES),
        "adaptation",
    ),
    Statement(
        "Its later updates are about as large as Adam's",
        "Their mean size over that of Adam's",
        _on("adam", _SIZES),
        "adaptation",
        times,
    ),
)


def words(records: Records) -> PageWords:
    """The statements of which something was measured, and a table over optimizers."""
    tables = {} if (found := _over_optimizers(records)) is None else {"optimizers": found}
    return PageWords(told(STATEMENTS)(records).sentences, tables)


def _over_optimizers(records: Records) -> Table | None:
    """The claims about the learned optimizer, for each that stood in its place."""
    statements = {claim.id: claim.statement for claim in records.claims}
    guests = [name for name in GUESTS if any(f"{one}-{name}" in statements for one in statements)]
    if not guests:
        return None
    # Those of the other run first, if there is one: it is the one to start from.
    runs = [claims for claims in (records.beside, records.claims) if claims]
    head = ["claim", *(f"`{claims[0].scale}`" for claims in runs), *(GUESTS[one] for one in guests)]
    rows = [
        [
            statement,
            *(_short(claims, name) for claims in runs),
            *(_short(records.claims, f"{name}-{guest}") for guest in guests),
        ]
        for name, statement in statements.items()
        if any(f"{name}-{guest}" in statements for guest in guests)
    ]
    return head, rows


def _short(claims: Sequence[Claim], name: str) -> str:
    """The verdict as a sign, and the number; empty where nothing was measured."""
    claim = preferred(claims, name)
    return "" if claim is None else f"{SIGNS[claim.verdict]} {format_number(claim.estimate.value)}"
