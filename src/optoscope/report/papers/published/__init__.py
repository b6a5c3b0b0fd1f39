"""The figures of the published optimizers, drawn from the records of their parts."""

from optoscope.report.papers._figure import PaperFigure, Reading
from optoscope.report.papers.published._pictures import (
    curvature,
    driven,
    inside,
    long_runs,
    probed,
)

FIGURES: dict[str, PaperFigure] = {
    "1": PaperFigure(
        driven,
        Reading(
            "Every optimizer is given an 8×8 matrix of parameters and, at every step, normal "
            "numbers of one size as its gradient. Left: the size of its updates at the end of the "
            "run against the size of the gradients; a line of slope 1 is gradient descent, a flat "
            "one does not see the size, as Adam does not. Right: the size of updates over the "
            "steps at one size of gradients, relative to the second tenth of the run: what falls "
            "has a schedule of its own, since the gradients stay as they are.",
            "What the optimizer does where gradients have a direction: these are noise alone, "
            "where memory averages them away. Celo, Celo2 and Muon see the whole matrix, so that "
            "another shape could give other sizes.",
        ),
    ),
    "2": PaperFigure(
        inside,
        Reading(
            "The state of a single coordinate at the fixed point that most visited states lead to "
            "without a gradient. Top left: the update function there, scaled; where it crosses "
            "zero beside the origin, the optimizer moves without a gradient. Top right: the "
            "memories of its modes, larger dots being larger shares of the impulse response. "
            "Bottom left: the update without a gradient over the response to a typical gradient. "
            "Bottom right: the same against how far long runs at home rose again after their "
            "least loss.",
            "Optimizers whose coordinates hang together (Celo, Celo2, Muon): their state has no "
            "single coordinate. And what happens far from rest: modes are those of small changes. "
            "So few optimizers can show a relation, and not prove one.",
        ),
    ),
    "3": PaperFigure(
        probed,
        Reading(
            "Left: how far updates point along the rescaling symmetry of leaky ReLU, to which "
            "gradients are orthogonal; 1 is a direction that knows nothing of it. Right: the tail "
            "index of the noise of updates (dot) and of gradients (cross), and of Gaussian noise "
            "with the scales and correlations of the updates (stroke). A dot per run.",
            "Whether breaking a symmetry or light tails help. An α below 2 whose stroke is as low "
            "says nothing of heavy tails: unequal scales alone lower it.",
        ),
    ),
    "4": PaperFigure(
        curvature,
        Reading(
            "Runs on ½λφ² from φ = 1, a square for each curvature: green where φ comes to zero, "
            "blue where it goes back and forth at a bounded size, ochre where it stops elsewhere "
            "or is too slow to tell, orange where it grows without end.",
            "Stability on networks, whose curvatures are many and change. Where a square is blue, "
            "its size matters, and is in the records (`final_sizes`).",
        ),
    ),
    "5": PaperFigure(
        long_runs,
        Reading(
            "The median over runs of the moving average (0.98) of the training loss; both axes "
            "are logarithmic. Published optimizers run as they are; Adam, Lion and Muon have one "
            "learning rate for all tasks and are not tuned. A line that turns up again has not "
            "lasted; one that leaves through the top has diverged.",
            "Which optimizer is best: nothing is tuned here, the suite of tasks is for that. "
            "Nor generalization.",
        ),
    ),
}
