"""What is claimed, as data; written down before the first run."""

from optoscope._core.criteria import above, below
from optoscope.papers._claims import RUN, Claim, Statistic, readings
from optoscope.papers.published import _statistics as measured
from optoscope.papers.published._scales import HOME, TASKS
from optoscope.papers.published._setting import CONTESTANTS, LEARNED, PAIRS

_ONCE = {"corrected": ""}
_COORDINATE = tuple(name for name in LEARNED if CONTESTANTS[name].by_coordinate)
_DM = tuple(name for name in CONTESTANTS if name.startswith("dm"))
_RNNPROP = tuple(name for name in CONTESTANTS if name.startswith("rnnprop"))
# A share of the decrease that batches alone do not bring about.
_RISE = 0.01
_POWER = "the power with which the size of updates grows with that of gradients"
_COURSE = "the decades by which updates grow from the second to the last tenth of a run"


# Why the readings of a state at rest are others than those that were first written down.
_MOVED = (
    "It was read at the fixed point of the most starts, until a run at smoke scale showed that "
    "plain L2O-DM has none; now where silence leads."
)
_ADDED = (
    "Added when it was seen where silence leads, before any run of 20,000 steps, but with the "
    "knowledge of how L2O-DM fares over 1,000."
)
_NEARER = (
    "It was the share of curvatures on which a run converges, until cycles of changing size were "
    "seen to be taken for that."
)


def _of_pairs(
    place: tuple[str, str],
    statement: str,
    statistic: Statistic,
    quantity: str,
    unit: str = "decades",
    revised: str = "",
) -> Claim:
    """A claim on what curriculum and imitation changed, in every pair; `place` is id and figure."""
    made = readings(
        statistic, _ONCE, PAIRS, criterion=above(0.0), chosen=True, unit=unit, over="pair",
        quantity=quantity, revised=revised,
    )  # fmt: skip
    return Claim(*place, f"Curriculum and imitation {statement}", made)


_SIZES = (
    Claim(
        "P1-rnnprop-adapts", "1",
        "RNNProp's updates do not depend on the size of gradients.",
        readings(measured.adapts, _ONCE, _RNNPROP, criterion=below(0.1), chosen=True,
                 quantity=_POWER, over="optimizer"),
    ),
    Claim(
        "P1-dm-adapts-in-part", "1",
        "L2O-DM's updates grow more slowly than gradients do.",
        readings(measured.adapts, _ONCE, _DM, criterion=below(0.5), chosen=True,
                 quantity=_POWER, over="optimizer"),
    ),
    _of_pairs(("P1-adapts-more", "1"), "make updates depend less on the size of gradients.",
              measured.adapts_more,
              "the amount by which the power of gradients that updates grow with is smaller",
              unit=""),
    _of_pairs(("P1-leaves-less", "1"), "make updates vanish with gradients.", measured.leaves_less,
              "the decades by which updates at gradients of 1e-8, over those at 0.001, are "
              "smaller"),
    Claim(
        "P1-celo-schedules", "1",
        "Celo has a schedule of its own: its steps shrink though gradients stay as they are.",
        readings(measured.grows, _ONCE, "celo", criterion=below(-0.3), unit="decades", over=RUN,
                 quantity=_COURSE),
    ),
    Claim(
        "P1-dm-has-no-schedule", "1",
        "L2O-DM, which does not know the step, does not step less and less under steady gradients.",
        readings(measured.grows, _ONCE, "dm", criterion=above(-0.1), unit="decades", over=RUN,
                 quantity=_COURSE),
    ),
)  # fmt: skip

_INSIDE = (
    _of_pairs(("P2-longer-memory", "2"), "make the memory longer.", measured.remembers_longer,
              "the decades by which the slowest mode of some weight lasts longer", revised=_MOVED),
    _of_pairs(("P2-less-drift", "2"), "make it move less where there is no gradient.",
              measured.drifts_less,
              "the decades by which the update in silence, over the response to a gradient of "
              "0.001, is smaller", revised=_MOVED),
    _of_pairs(("P2-settles", "2"), "let the state come to rest.", measured.settles_more,
              "the decades by which the state changes less at every step, after 2,000 of them "
              "without a gradient", revised=_ADDED),
)  # fmt: skip

_PROBED = (
    *(
        Claim(
            f"P3-breaks-symmetry-{name}", "3",
            f"{CONTESTANTS[name].words} breaks the rescaling symmetry, which gradients keep.",
            readings(
                measured.breaks_symmetry, _ONCE, name, criterion=above(0.1), over=RUN,
                quantity="the mean cosine of its updates to the symmetry, over that of a direction "
                "that knows nothing of it",
            ),
        )
        for name in ("dm", "dm_cl_il", "rnnprop", "celo")
    ),
    *(
        Claim(
            f"P3-lighter-tails-{name}", "3",
            f"The noise of {CONTESTANTS[name].words}'s updates has lighter tails than that of "
            "gradients.",
            readings(
                measured.lighter_tails, {"paper": "paper", "corrected": "corrected"}, name,
                criterion=above(0.0), over=RUN,
                quantity="the tail index of updates less that of gradients",
            ),
        )
        for name in ("dm", "dm_cl_il", "rnnprop")
    ),
)  # fmt: skip

_CURVATURE = (
    Claim(
        "P4-bounded", "4",
        "Recurrent optimizers, whose steps are bounded, diverge on no quadratic.",
        readings(
            measured.bounded, _ONCE, _COORDINATE, criterion=above(0.95), chosen=True,
            unit="share", over="optimizer",
            quantity="the share of curvatures, from 0.01 to 1,000, at which a run does not diverge",
        ),
    ),
    _of_pairs(("P4-ends-nearer", "4"), "let it end nearer to the minima of quadratics.",
              measured.ends_nearer,
              "the decades, in the median over curvatures, by which runs end nearer",
              revised=_NEARER),
)  # fmt: skip


def _lasting() -> tuple[Claim, ...]:
    claims = [
        Claim(
            "P5-dm-rises", "5",
            "At home L2O-DM as first trained rises again after its least loss.",
            readings(measured.gives_back, _ONCE, HOME, "dm", criterion=above(_RISE), unit="share",
                     quantity="the share of its decrease that a run has given back", over=RUN),
        )
    ]  # fmt: skip
    for name in _DM[1:]:
        words = CONTESTANTS[name].words
        claims += [
            Claim(
                f"P5-rises-less-{name}", "5", f"{words} rises less than L2O-DM at home.",
                readings(measured.gives_back_less, _ONCE, HOME, name, "dm", criterion=above(0.0),
                         unit="share", over=RUN,
                         quantity="the share that L2O-DM has given back, less its own"),
            ),
            Claim(
                f"P5-starts-slower-{name}", "5", f"{words} starts more slowly than L2O-DM at home.",
                readings(measured.is_lower, {"corrected": "early"}, HOME, "dm", name,
                         criterion=above(0.0), unit="decades", over=RUN,
                         quantity="the decades from L2O-DM's loss over the first steps up to its"),
            ),
        ]  # fmt: skip
    for task, words in TASKS.items():
        claims.append(
            Claim(
                f"P5-lower-{task}", "5",
                f"L2O-DM with curriculum and imitation ends lower than tuned Adam: {words}.",
                readings(measured.is_lower, {"corrected": "final"}, task, "dm_cl_il", "adam",
                         criterion=above(0.0), unit="decades", over=RUN,
                         quantity="the decades from its final loss up to Adam's"),
            )
        )  # fmt: skip
    return tuple(claims)


_FORETOLD = {
    "drift": ("who moves without a gradient gives back more", _COORDINATE),
    "unrest": ("whose state does not come to rest gives back more", _COORDINATE),
    "memory": ("who remembers shortly gives back more", _COORDINATE),
    "tiny": ("whose updates do not vanish with gradients gives back more", LEARNED),
    "distance": ("who ends farther from the minima of quadratics gives back more", LEARNED),
}

_REVISED = {"drift": _MOVED, "memory": _MOVED, "unrest": _ADDED, "distance": _NEARER}

CLAIMS: tuple[Claim, ...] = (
    *_SIZES,
    *_INSIDE,
    *_PROBED,
    *_CURVATURE,
    *_lasting(),
    *(
        Claim(
            f"P6-{measure}-foretells", "6", f"One can see how long an optimizer lasts: {words}.",
            readings(
                measured.foretells, {"corrected": measure}, names, tuple(TASKS),
                criterion=above(0.5), chosen=True, over="task", revised=_REVISED.get(measure, ""),
                quantity="the rank correlation over learned optimizers of the two",
            ),
        )
        for measure, (words, names) in _FORETOLD.items()
    ),
)  # fmt: skip
