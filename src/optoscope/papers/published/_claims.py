"""What is claimed, as data; written down before the first run."""

from optoscope._core.criteria import above, below
from optoscope.papers._claims import RUN, Claim, readings
from optoscope.papers.published import _statistics as measured
from optoscope.papers.published._setting import CONTESTANTS, HOME, TASKS

_ONCE = {"corrected": ""}
_PAIRS = (("dm_cl", "dm"), ("dm_il", "dm"), ("dm_cl_il", "dm"))
_COORDINATE = tuple(name for name, one in CONTESTANTS.items() if one.by_coordinate and one.kind)
_DM = tuple(name for name in CONTESTANTS if name.startswith("dm"))
_RNNPROP = tuple(name for name in CONTESTANTS if name.startswith("rnnprop"))
# A tenth: what batches alone do not do to an average of fifty losses.
_TENTH = 0.0414


def _rebounds() -> tuple[Claim, ...]:
    claims = [
        Claim(
            "P5-dm-rises", "5",
            "At home L2O-DM as first trained rises again after its least loss.",
            readings(
                measured.rises, _ONCE, HOME, "dm", criterion=above(_TENTH), unit="decades",
                quantity="the decades from the least to the last smoothed loss", over=RUN,
            ),
        )
    ]  # fmt: skip
    for name in ("dm_cl", "dm_il", "dm_cl_il"):
        claims.append(
            Claim(
                f"P5-rises-less-{name}", "5",
                f"{CONTESTANTS[name].words} rises less than L2O-DM at home.",
                readings(
                    measured.rises_less, _ONCE, HOME, name, "dm", criterion=above(0.0),
                    unit="decades", quantity="the rise of L2O-DM less its own", over=RUN,
                ),
            )
        )  # fmt: skip
    for task in TASKS:
        claims.append(
            Claim(
                f"P5-lower-{task}", "5",
                f"With curriculum and imitation L2O-DM ends lower than Adam ({TASKS[task][2]}).",
                readings(
                    measured.ends_lower, _ONCE, task, "dm_cl_il", "adam", criterion=above(0.0),
                    unit="decades", quantity="the decades from its last loss up to Adam's",
                    over=RUN,
                ),
            )
        )  # fmt: skip
    return tuple(claims)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "P1-rnnprop-adapts", "1",
        "RNNProp's updates do not depend on the size of gradients.",
        readings(
            measured.adapts, _ONCE, _RNNPROP, criterion=below(0.1), chosen=True,
            quantity="the exponent of the size of updates over that of gradients",
            over="optimizer",
        ),
    ),
    Claim(
        "P1-dm-adapts-in-part", "1",
        "L2O-DM's updates grow more slowly than gradients do.",
        readings(
            measured.adapts, _ONCE, _DM, criterion=below(0.5), chosen=True,
            quantity="the exponent of the size of updates over that of gradients",
            over="optimizer",
        ),
    ),
    Claim(
        "P1-celo-schedules", "1",
        "Celo has a schedule of its own: its steps shrink though gradients stay as they are.",
        readings(
            measured.shrinks, _ONCE, "celo", criterion=below(-0.3), unit="decades", over=RUN,
            quantity="the decades by which updates grow from the second to the last tenth",
        ),
    ),
    Claim(
        "P1-dm-has-no-schedule", "1",
        "L2O-DM, which does not know the step, has no schedule under steady gradients.",
        readings(
            measured.shrinks, _ONCE, "dm", criterion=above(-0.1), unit="decades", over=RUN,
            quantity="the decades by which updates grow from the second to the last tenth",
        ),
    ),
    Claim(
        "P2-longer-memory", "2",
        "Curriculum and imitation make L2O-DM's memory longer.",
        readings(
            measured.remembers_longer, _ONCE, _PAIRS, criterion=above(0.0), chosen=True,
            unit="decades", over="optimizer",
            quantity="the decades by which the slowest mode is slower than that of plain L2O-DM",
        ),
    ),
    Claim(
        "P2-less-drift", "2",
        "Curriculum and imitation make L2O-DM move less where there is no gradient.",
        readings(
            measured.drifts_less, _ONCE, _PAIRS, criterion=above(0.0), chosen=True,
            unit="decades", over="optimizer",
            quantity="the decades by which the update at rest is smaller, as a share of the "
            "response to a typical gradient",
        ),
    ),
    Claim(
        "P2-drift-foretells", "2",
        "One can see in the weights that an optimizer will last: who drifts less rises less.",
        readings(
            measured.foretells, {"corrected": "drift"}, _COORDINATE, tuple(TASKS),
            criterion=above(0.5), chosen=True, over="task",
            quantity="the rank correlation, over published optimizers, of drift and rise",
        ),
    ),
    Claim(
        "P2-memory-foretells", "2",
        "One can see in the weights that an optimizer will last: who remembers longer rises less.",
        readings(
            measured.foretells, {"corrected": "memory"}, _COORDINATE, tuple(TASKS),
            criterion=above(0.5), chosen=True, over="task",
            quantity="the rank correlation, over published optimizers, of shorter memory and rise",
        ),
    ),
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
    Claim(
        "P4-bounded", "4",
        "Recurrent optimizers, whose steps are bounded, diverge on no quadratic.",
        readings(
            measured.bounded, _ONCE, _COORDINATE, criterion=above(0.95), chosen=True,
            unit="share", over="optimizer",
            quantity="the share of curvatures, from 0.01 to 1,000, at which a run does not diverge",
        ),
    ),
    *_rebounds(),
)  # fmt: skip
