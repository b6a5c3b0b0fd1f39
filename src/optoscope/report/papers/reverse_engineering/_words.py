"""What stands at the head of paper B's page."""

from collections.abc import Iterable

from optoscope.report.papers._statements import Statement, percent, percent_below, times

_PLACES = {
    "regression": "linear regression",
    "rosenbrock": "Rosenbrock",
    "two-moons": "two moons",
    "cnn": "the CNN",
}
_ALL = tuple(_PLACES)
_FIRST_THREE = _ALL[:3]


def _on(claim: str, tasks: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The claims of one kind by the task that they speak of."""
    return {_PLACES[task]: (f"{claim}-{task}",) for task in tasks}


STATEMENTS = (
    Statement(
        "A learned optimizer beats tuned momentum, RMSProp and Adam",
        "The mean loss of a run lies below that of the best of the three by",
        {
            place: tuple(f"B1-{task}-{name}" for name in ("momentum", "rmsprop", "adam"))
            for task, place in _PLACES.items()
        },
        "better",
        percent_below,
    ),
    Statement(
        "The states of all runs come to one point",
        "Decades by which their variance falls",
        _on("B3-converges", _FIRST_THREE),
        "momentum",
    ),
    Statement(
        "There, one or two modes do nearly all",
        "Their share of the response to a gradient",
        _on("B3-modes", _FIRST_THREE),
        "momentum",
        percent,
    ),
    Statement(
        "The first of these modes is tuned momentum",
        "Its forgetting, 1 − |β|, over that of tuned momentum",
        _on("B3-timescale", _FIRST_THREE),
        "momentum",
        times,
    ),
    Statement(
        "Large gradients are clipped",
        "The update at the largest gradients lies below the linear one by",
        _on("B4-saturates", _ALL),
        "adaptation",
        percent,
    ),
    Statement(
        "There is a learning rate schedule of its own on regression and the CNN, and none on the "
        "other two",
        "The largest effective rate over the least, without gradients",
        _on("B5-schedule", _ALL),
        "adaptation",
        times,
    ),
    Statement(
        "What the state does by itself moves no parameters",
        "The update without a gradient over the updates in runs",
        _on("B5-orthogonal", _ALL),
        "adaptation",
        times,
    ),
    Statement(
        "The learning rate adapts: it falls where gradients of one sign last",
        "The rank correlation of the rate and the size of the gradient",
        _on("B6-falls", _FIRST_THREE),
        "adaptation",
    ),
    Statement(
        "Biases have lower rates than weights",
        "Decades by which the weights' rate is the larger one, the least over the CNN's layers",
        {"": ("B7-biases",)},
        "adaptation",
    ),
    Statement(
        "Later layers have larger rates",
        "The rank correlation of a layer's place and its rate, the lesser of weights and biases",
        {"": ("B7-layers",)},
        "adaptation",
    ),
    Statement(
        "The CNN's optimizer has a line of fixed points",
        "The least |1 − λ| of an eigenvalue λ where runs end",
        {"": ("B13-line",)},
        "momentum",
    ),
    Statement(
        "Published optimizers that last have such a line",
        "The same for them",
        {
            "L2O-DM with curriculum and imitation": ("B-lines-dm_cl_il",),
            "RNNProp": ("B-lines-rnnprop",),
            "RNNProp with both": ("B-lines-rnnprop_cl_il",),
        },
        "momentum",
    ),
    Statement(
        "Meta-training recovers heavy ball, whose optimum is known",
        "|α| of the dominant mode over heavy ball's",
        {"": ("B14-rate",)},
        "meta-training",
        times,
    ),
    Statement(
        "That mode alone is as good as the learned optimizer",
        "The difference of their mean losses, as a share",
        {"": ("B14-alone",)},
        "meta-training",
        percent,
    ),
)
