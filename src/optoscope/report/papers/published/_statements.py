"""What is said above all of published optimizers, on the page over all papers."""

from optoscope.report.papers._statements import Statement, percent

_CHANGED = {"curriculum": "dm_cl", "imitation": "dm_il", "both": "dm_cl_il"}
_TASKS = {
    "its own network": "home",
    "leaky ReLU": "relu",
    "the CNN": "cnn",
    "two moons": "moons",
}
_NAMES = {"L2O-DM": "dm", "L2O-DM with both": "dm_cl_il", "RNNProp": "rnnprop"}
_MEASURES = {
    "its drift in silence": "drift",
    "the unrest of its state": "unrest",
    "how shortly it remembers": "memory",
    "its updates at tiny gradients": "tiny",
    "its distance from minima of quadratics": "distance",
}


def _each(kind: str, of: dict[str, str], claim: str = "{}") -> dict[str, tuple[str, ...]]:
    return {place: (f"{kind}-{claim.format(name)}",) for place, name in of.items()}


STATEMENTS = (
    Statement(
        "L2O-DM with curriculum and imitation ends lower than tuned Adam",
        "Decades by which its loss at the end of long runs lies below Adam's",
        _each("P5-lower", _TASKS),
        "better",
    ),
    Statement(
        "Curriculum and imitation make it start more slowly",
        "Decades by which its loss over the first steps is larger",
        _each("P5-starts-slower", _CHANGED),
        "better",
    ),
    Statement(
        "RNNProp's updates do not depend on the size of gradients",
        "The power with which they grow with it",
        {"": ("P1-rnnprop-adapts",)},
        "adaptation",
    ),
    Statement(
        "Celo has a schedule of its own",
        "Decades by which its updates grow over a run of steady gradients",
        {"": ("P1-celo-schedules",)},
        "adaptation",
    ),
    Statement(
        "Curriculum and imitation make memories longer",
        "Decades by which the slowest mode lasts longer",
        {"": ("P2-longer-memory",)},
        "momentum",
    ),
    Statement(
        "Published optimizers leave the rescaling symmetry that gradients keep",
        "Their cosine to it over that of a direction that knows nothing of it",
        _each("P3-breaks-symmetry", _NAMES | {"Celo": "celo"}),
        "symmetry",
    ),
    Statement(
        "The noise of their updates has lighter tails than that of gradients",
        "α of the updates less α of the gradients",
        _each("P3-lighter-tails", _NAMES),
        "noise",
    ),
    Statement(
        "At home L2O-DM as first trained rises again after its least loss",
        "The share of its decrease that it gives back",
        {"": ("P5-dm-rises",)},
        "lasting",
        percent,
    ),
    Statement(
        "With curriculum and imitation it rises less",
        "The share that plain L2O-DM gives back, less its own",
        _each("P5-rises-less", _CHANGED),
        "lasting",
        percent,
    ),
    Statement(
        "One can see in the weights that an optimizer will last",
        "The rank correlation of what it gives back in long runs with the measure",
        _each("P6", _MEASURES, "{}-foretells"),
        "lasting",
    ),
)
