"""One paragraph on each pair of the gallery; every number in it is read from the pair's arrays.

A paragraph also checks what its words say (that one number is above another), so that it cannot
outlive the numbers that it was written about.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from optoscope import report

ALL = "all parameters"
MOMENTUM, ADAM = "momentum (0.9)", "Adam (0.9, 0.999)"


class WordsNoLongerTrueError(Exception):
    """A paragraph says what the arrays of a new run do not show: write it anew."""


def holds(is_true: bool | np.bool_, words: str) -> None:
    """Raises WordsNoLongerTrueError where the arrays do not show what a paragraph says."""
    if not is_true:
        raise WordsNoLongerTrueError(f"the arrays no longer show that {words}.")


class Seen:
    """What a page shows, by panel, array and optimizer."""

    def __init__(self, run: Path):
        read = report.read_run(run)
        assert read.results is not None
        self.results = read.results
        self.panels = {panel.name: panel.findings for panel in read.panels}

    def at(self, panel: str, array: str, **places: str) -> np.ndarray:
        """An array of a panel at some places of its axes."""
        return self.panels[panel].at(array, **places)

    def size(self, name: str) -> np.ndarray:
        """The root mean square of the optimizer's updates, at the steps that were looked at."""
        return self.at("geometry", "size", optimizer=name, layer=ALL)

    def share(self, name: str, explanation: str) -> np.ndarray:
        """The share of its updates that a direction explains, at those steps."""
        return self.at("geometry", "share", optimizer=name, layer=ALL, explanation=explanation)

    def cosine(self, name: str, compared: str) -> np.ndarray:
        """The cosine of its updates with a direction, at those steps."""
        return self.at("geometry", "cosine", optimizer=name, layer=ALL, compared=compared)

    def long_loss(self, name: str) -> tuple[float, float]:
        """The least and the last loss of the run of ten times the length, both of a while."""
        losses = self.at("stability", "long_loss", optimizer=name)
        return float(np.nanmin(losses)), float(losses[-1])

    def mean_loss(self, name: str) -> float:
        """The mean training loss over the runs, which is what was tuned for."""
        return self.results.optimizers[name].mean_loss[self.results.num_steps].value

    def symmetry(self, name: str, symmetry: str) -> float:
        """How far its updates lie along a symmetry, in those of a random direction."""
        places = {"optimizer": name, "symmetry": symmetry}
        cosine = self.at("symmetry", "cosine", **places)
        return float(np.median(cosine / self.at("symmetry", "isotropic", **places)))

    @property
    def long(self) -> str:
        """The length of the long run."""
        return f"{10 * self.results.num_steps:,}"


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def number(value: float) -> str:
    if 100 <= abs(value) < 1e4:
        return f"{value:,.0f}"
    return f"{value:.2g}" if 1e-3 <= abs(value) < 100 else f"{value:.1e}"


def adam_and_lion(seen: Seen) -> str:
    adam, lion = seen.size("adam"), seen.size("lion")
    signs = [seen.share(name, "sign of the gradient") for name in ("adam", "lion")]
    ends = {name: seen.long_loss(name) for name in ("adam", "lion")}
    curvature, edge = (
        float(seen.at("stability", array, optimizer="adam")[-1]) for array in ("curvature", "edge")
    )
    holds(min(one[0] for one in signs) > 0.99, "both begin as the sign of the gradient")
    holds(adam[-1] < adam[0] / 2 and lion[-1] > 0.9 * lion[0], "Adam's steps shrink, Lion's do not")
    holds(ends["lion"][1] > 10 * ends["adam"][1], "Lion's long run ends far above Adam's")
    holds(edge / 3 < curvature < 3 * edge, "Adam ends near its stable edge")
    return (
        "At the first step the two point the same way: the sign of the gradient explains "
        f"{percent(signs[0][0])} of both. At the last one it explains {percent(signs[0][-1])} of "
        f"Adam's update and {percent(signs[1][-1])} of Lion's. What matters is the size. Adam's "
        f"steps shrink with the gradients, from {number(adam[0])} to {number(adam[-1])} (root mean "
        f"square); Lion's are {number(lion[0])} and {number(lion[-1])}, for a sign has no size. "
        f"Adam ends near the edge of its stable range (curvature {number(curvature)}, edge "
        f"{number(edge)}), and Lion has none: over {seen.long} steps Adam's loss ends at "
        f"{number(ends['adam'][1])}, and Lion's comes down to {number(ends['lion'][0])} and ends "
        f"at {number(ends['lion'][1])}. A constant rate that is best for {seen.results.num_steps} "
        "steps does not last where the step does not shrink."
    )


def adamw_and_muon(seen: Seen) -> str:
    matrix = seen.panels["geometry"].axes["matrix"].values[0]
    ranks = {
        name: float(np.median(seen.at("geometry", "effective_rank", direction=name, matrix=matrix)))
        for name in ("gradient", "adamw", "muon")
    }
    others = float(np.median(seen.at("update-function", "influence", optimizer="muon")))
    none = float(np.max(seen.at("update-function", "influence", optimizer="adamw")))
    momentum = float(np.median(seen.cosine("muon", MOMENTUM)))
    sizes = {name: seen.size(name) for name in ("adamw", "muon")}
    ends = {name: seen.long_loss(name)[1] for name in ("adamw", "muon")}
    holds(none < 1e-3, "AdamW works on each coordinate by itself")
    holds(ranks["gradient"] < ranks["adamw"] < ranks["muon"], "ranks rise from gradient to Muon")
    shrunk = {name: float(size[0] / size[-1]) for name, size in sizes.items()}
    holds(shrunk["adamw"] > 2 * shrunk["muon"], "AdamW's steps shrink far more than Muon's")
    holds(ends["muon"] > 10 * ends["adamw"], "Muon's long run ends far above AdamW's")
    return (
        "AdamW works on each coordinate by itself. Of the variance of Muon's update over batches "
        f"{percent(others)} comes from other coordinates, so that no curve of one coordinate is "
        "the whole of it. The singular values are: of the gradient of "
        f"`{matrix.split(' (')[0]}` the effective rank is {percent(ranks['gradient'])} of the full "
        "one (median over the run), of "
        f"AdamW's update {percent(ranks['adamw'])}, of Muon's {percent(ranks['muon'])}. Its cosine "
        f"with the momentum that it makes so even is still {momentum:.2f}. Its steps become "
        f"{shrunk['muon']:.1f} times smaller over the run, AdamW's {shrunk['adamw']:.1f} times; at "
        f"the rate that was best for {seen.results.num_steps} steps, Muon's loss after {seen.long} "
        f"is {number(ends['muon'])}, AdamW's {number(ends['adamw'])}. A step that does not shrink "
        "by itself needs a schedule: look at `muon-cosine`."
    )


def momentum_and_gru(seen: Seen) -> str:
    gru, momentum = "gru-quadratic", "momentum"
    early = float(seen.cosine(gru, "−gradient")[0])
    timescale, share = (
        float(seen.at("dynamics", array, optimizer=gru)[0]) for array in ("timescale", "share")
    )
    curves = {n: seen.at("update-function", "update", optimizer=n)[-1, 0] for n in (gru, momentum)}
    bends = {n: float((c[0] - c[-1]) / (c[15] - c[25]) / 4) for n, c in curves.items()}
    first = {n: float(seen.at("learning-rate", "time", optimizer=n)[0]) for n in (gru, momentum)}
    losses = {name: seen.mean_loss(name) for name in (gru, momentum)}
    holds(early > 0.99, "the GRU begins along the gradient")
    holds(bends[gru] < 0.9 and 0.98 < bends[momentum] < 1.02, "the GRU clips, momentum does not")
    holds(first[gru] > 2 * first[momentum], "the GRU is at its full step sooner")
    holds(losses[gru] < losses[momentum] / 2, "the GRU's loss is less than half of momentum's")
    return (
        f"The GRU of paper B has a mean loss of {number(losses[gru])} over "
        f"{seen.results.num_steps} steps, tuned momentum {number(losses[momentum])}. It has found "
        f"momentum: {percent(share)} of its response to a gradient is one mode, with decay "
        f"{timescale:.2f}. It also does what momentum cannot. Its update function bends: four "
        f"times the gradient gives {4 * bends[gru]:.1f} times the step, where momentum's line "
        f"gives {4 * bends[momentum]:.1f} times. And it begins sooner: under a constant gradient "
        f"its first step is {percent(first[gru])} of the largest, momentum's "
        f"{percent(first[momentum])}."
    )


def lstm_and_its_twin(seen: Seen) -> str:
    plain, kept = "lstm-plain", "lstm-penalized"
    along = {name: seen.symmetry(name, "translation") for name in (plain, kept)}
    adam = {name: float(np.median(seen.share(name, ADAM))) for name in (plain, kept)}
    losses = {name: seen.mean_loss(name) for name in (plain, kept)}
    ends = {name: seen.long_loss(name)[1] for name in (plain, kept)}
    holds(along[plain] > along[kept], "the penalty keeps updates off the symmetry")
    holds(losses[plain] < losses[kept], "the plain one is faster")
    holds(ends[kept] < ends[plain], "the penalized one ends lower in the long run")
    holds(adam[kept] > adam[plain], "the penalized one is nearer to Adam")
    return (
        "The same weights, meta-trained on the same problems; to one of them it was a cost to move "
        "along translations, a symmetry that gradients have nothing along. Its updates lie "
        f"{along[kept]:.1f} times as much along it as a random direction does, those of its twin "
        f"{along[plain]:.1f} times. The penalty has made it another optimizer: Adam's direction "
        f"explains {percent(adam[kept])} of its update (median over the run), and "
        f"{percent(adam[plain])} of the twin's. It is slower, with a mean loss of "
        f"{number(losses[kept])} over {seen.results.num_steps} steps where the twin has "
        f"{number(losses[plain])}, and it goes farther: over {seen.long} steps its loss ends at "
        f"{number(ends[kept])}, the twin's at {number(ends[plain])}. One pair of twins is no "
        "proof; [paper A](../results/A.md) has several."
    )


def ending(seen: Seen, name: str) -> str:
    """Where the long run of an optimizer comes to, in words."""
    least, last = seen.long_loss(name)
    if not np.isfinite(last):
        return f"{name} leaves the finite numbers"
    if last > 2 * least:
        return f"{name} comes down to {number(least)} and back up to {number(last)}"
    return f"{name} comes down to {number(last)} and stays there"


def star_and_its_parts(seen: Seen) -> str:
    star, black, nominal = "star-mnist-mlp", "blackbox-mnist-mlp", "hyperparam-mnist-mlp"
    names = (star, black, nominal)
    along = {name: float(np.median(seen.share(name, "gradient"))) for name in names}
    sizes = {name: float(np.median(seen.size(name))) for name in names}
    curved = {n: float(seen.at("stability", "curvature", optimizer=n)[-1]) for n in names}
    losses = {name: seen.mean_loss(name) for name in names}
    ends = {name: seen.long_loss(name)[1] for name in names}
    holds(along[nominal] > 0.5 > max(along[black], along[star]), "one is along the gradient")
    holds(0.5 < sizes[star] / sizes[nominal] < 1, "STAR's steps are nearly the nominal term's")
    holds(sizes[star] > 2 * sizes[black], "the black box's steps are the smallest")
    holds(curved[star] > max(curved[black], curved[nominal]), "STAR ends where it is sharpest")
    holds(losses[nominal] < losses[star] < losses[black], "the black box is the slowest")
    holds(ends[star] < ends[black] < ends[nominal] < 0.1, "all last, STAR ends lowest")
    return (
        "STAR is a nominal term and a black box together; the other two were trained with one of "
        "them, all on MNIST and none on these digits. The nominal term alone walks along the "
        f"gradient, which explains {percent(along[nominal])} of its update (median over the run), "
        f"{percent(along[black])} of the black box's and {percent(along[star])} of STAR's. STAR's "
        f"steps, {number(sizes[star])} (root mean square), are nearly as large as the nominal "
        f"term's, {number(sizes[nominal])}; the black box takes {number(sizes[black])}. The "
        f"largest curvature along the run ends at {number(curved[star])} with STAR, at "
        f"{number(curved[nominal])} with the nominal term and at {number(curved[black])} with the "
        f"black box. Over {seen.results.num_steps} steps the mean losses are "
        f"{number(losses[star])} (STAR), {number(losses[nominal])} (nominal term) and "
        f"{number(losses[black])} (black box). All three last over {seen.long} steps, and STAR "
        f"ends lowest, at {number(ends[star])} beside {number(ends[black])} (black box) and "
        f"{number(ends[nominal])} (nominal term)."
    )


def schedule_free_and_cosine(seen: Seen) -> str:
    free, cosine = seen.results.optimizers
    free, cosine = (free, cosine) if "free" in free else (cosine, free)
    times = {name: seen.at("learning-rate", "time", optimizer=name) for name in (free, cosine)}
    losses = {name: seen.mean_loss(name) for name in (free, cosine)}
    finals = {n: seen.results.optimizers[n].final_loss.value for n in (free, cosine)}
    sizes = {name: seen.size(name) for name in (free, cosine)}
    holds(times[cosine][-1] < 0.01, "the cosine ends at zero")
    return (
        "Run under one constant gradient, counters and all, each shows what time alone does to it. "
        f"Cosine AdamW's step falls to {percent(times[cosine][-1])} of its largest at the end of "
        f"the {seen.results.num_steps} steps that it was made for. Schedule-free AdamW has no such "
        f"end: its last step is {percent(times[free][-1])} of its largest. In the run its updates "
        f"go from {number(sizes[free][0])} to {number(sizes[free][-1])}, the other's from "
        f"{number(sizes[cosine][0])} to {number(sizes[cosine][-1])}. The mean loss is "
        f"{number(losses[free])} and {number(losses[cosine])}, the loss at the end "
        f"{number(finals[free])} and {number(finals[cosine])}. Over {seen.long} steps the loss of "
        f"{ending(seen, free)}; that of {ending(seen, cosine)}."
    )


PARAGRAPHS: dict[str, Callable[[Seen], str]] = {
    "adam-lion": adam_and_lion,
    "adamw-muon": adamw_and_muon,
    "momentum-gru": momentum_and_gru,
    "lstm-penalized": lstm_and_its_twin,
    "star-blackbox": star_and_its_parts,
    "schedule-free-cosine": schedule_free_and_cosine,
}
