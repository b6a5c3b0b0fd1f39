"""What stands at the head of paper C's page."""

from optoscope.report.papers._statements import Statement, percent, times

_PLACES = {"mlp": "the MLP", "cnn": "the CNN"}
_OTHERS = {"blackbox": "beside Blackbox", "hyperparam": "beside Hyperparam"}
_UNSEEN = {"4": "figure 4", "app-5": "App. 5", "app-6": "App. 6"}


def _on_each(claim: str) -> dict[str, tuple[str, ...]]:
    """The claims of one kind by the task that they speak of; a task's name stands for {}."""
    return {place: (claim.format(task),) for task, place in _PLACES.items()}


def _beside_each(claim: str) -> dict[str, tuple[str, ...]]:
    """The same for each of the two others that STAR is compared with."""
    return {
        f"{place} {words}": (f"{claim.format(task)}-{other}",)
        for task, place in _PLACES.items()
        for other, words in _OTHERS.items()
    }


def _on_unseen(claim: str) -> dict[str, tuple[str, ...]]:
    return {place: (claim.format(key),) for key, place in _UNSEEN.items()}


STATEMENTS = (
    Statement(
        "The theorem's bounds keep eigenvalues inside the unit circle, as it is printed",
        "The share of random preconditioners that meet the bounds and leave the circle",
        {"": ("C1-theorem",)},
        "meta-training",
        protocol="paper",
    ),
    Statement(
        "Inside the stable range a nominal term lowers the variance of the meta-gradient",
        "Decades by which it does, the least over the range",
        {"": ("C2-variance",)},
        "meta-training",
    ),
    Statement(
        "STAR meta-trains faster",
        "The other's held-out loss less its own, the mean over meta-training",
        _beside_each("C3-faster-{}"),
        "meta-training",
    ),
    Statement(
        "Fully trained, STAR as printed is better",
        "The other's held-out loss less its own, each at its best",
        _beside_each("C3-better-{}"),
        "better",
    ),
    Statement(
        "STAR as printed recovers with length: it is better at the end of meta-training",
        "The other's held-out loss less its own, at the last evaluation",
        _beside_each("C3-better-{}"),
        "better",
        protocol="paper",
    ),
    Statement(
        "With a hundredth of the paper's β₃ STAR is better than with it",
        "The difference of held-out losses",
        _on_each("CS3-better-{}-star-0.5"),
        "meta-training",
    ),
    Statement(
        "Blackbox diverges within 100 times its horizon",
        "Its loss there over that at the horizon",
        _on_each("C3-blackbox-diverges-{}-far"),
        "lasting",
        times,
    ),
    Statement(
        "STAR stays stable to 100 times its horizon",
        "Its loss there over that at the horizon",
        _on_each("C3-star-0.5-stays-{}-far"),
        "lasting",
        times,
    ),
    Statement(
        "Hyperparam stays stable to 100 times its horizon",
        "Its loss there over that at the horizon",
        _on_each("C3-hyperparam-stays-{}-far"),
        "lasting",
        times,
    ),
    Statement(
        "Far past its horizon STAR has less loss than Blackbox",
        "The other's normalized loss less its own",
        _on_each("C3-less-loss-{}-far"),
        "lasting",
    ),
    Statement(
        "Weight decay in meta-training is what stabilizes STAR there",
        "The loss without it less that with a decay of 0.5",
        {
            "the MLP": ("A2-stabilizes-mlp",),
            "the MLP with fewer meta-steps": ("A2-stabilizes-brief",),
            "the CNN": ("A2-stabilizes-cnn",),
        },
        "lasting",
    ),
    Statement(
        "On tasks that it has not seen, STAR goes on descending",
        "The loss at the start over that at the end",
        _on_unseen("C{}-star-descends"),
        "lasting",
        times,
    ),
    Statement(
        "On tasks that it has not seen, STAR comes near tuned Adam",
        "Its final loss less Adam's, as a share of what guessing costs",
        _on_unseen("C{}-near-adam"),
        "better",
        percent,
    ),
)
