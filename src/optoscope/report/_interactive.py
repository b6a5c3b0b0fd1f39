"""The interactive part of a page: its numbers, its script and its style, and who may run them."""

import base64
import hashlib
import importlib.resources
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from optoscope._core.findings import Axis, Chart, Findings, Measured
from optoscope.report._findings import drawable, thinned
from optoscope.report._records import MetaTraining, Run
from optoscope.report._statistics import smooth, spread
from optoscope.report._style import Looks

_MOST_STEPS = 320
_DASHES = {"-": [], "--": [7, 4], "-.": [7, 3, 2, 3], ":": [2, 3]}


def asset(*names: str) -> str:
    """The text of files of the page, one after the other."""
    place = importlib.resources.files("optoscope.report") / "assets"
    return "\n".join((place / name).read_text(encoding="utf-8") for name in names)


def digest(text: str) -> str:
    """A hash of a script or a style, as a content security policy names it."""
    found = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(found).decode('ascii')}"


def policy(script: str, style: str) -> str:
    """The content security policy of a page: its own script and style run, and nothing else.

    Nothing is fetched, sent or framed; no text of a run can become a script, whatever it says.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"script-src '{digest(script)}'",
            f"style-src '{digest(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def embedded(content: Any) -> str:
    r"""JSON for an element of the page, in which no text can end the element.

    >>> embedded({"name": "</script>&"})
    '{"name":"\\u003c/script\\u003e\\u0026"}'
    """
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def page_data(findings: Mapping[str, Findings], look: Looks) -> dict[str, Any]:
    """What the page's script draws from.

    Args:
        findings: by the name that charts refer to.
        look: of the optimizers, by name.
    """
    looks = {
        name: {
            "light": one.color,
            "dark": one.light,
            "dash": _DASHES.get(one.dashes, []),
            "learned": one.learned,
        }
        for name, one in look.items()
    }
    return {"findings": drawable(findings), "looks": looks}


def run_findings(run: Run) -> dict[str, Findings]:
    """The interactive curves of what every command saves, by the name of their figure."""
    found = {}
    if run.losses:
        times = run.results.optimizers if run.results else {}
        seconds = {name: one.seconds_per_step for name, one in times.items()}
        found["loss_curves"] = losses(run.losses, seconds)
    if run.metrics is not None:
        found["meta_training"] = meta_training(run.metrics)
    return found


def losses(
    curves: Mapping[str, Float[np.ndarray, "runs steps"]], seconds: Mapping[str, float]
) -> Findings:
    """The training loss against the inner step and against time: median and middle half of runs.

    Args:
        curves: the losses, by optimizer.
        seconds: the time of a step, by optimizer, where it was measured.
    """
    longest = max(curve.shape[1] for curve in curves.values())
    window = 2 * (longest // 400) + 1
    places = thinned(longest, _MOST_STEPS)
    arrays = {name: np.full((len(curves), len(places)), np.nan) for name in ("loss", "low", "high")}
    for row, curve in enumerate(curves.values()):
        found = spread(smooth(curve, window))
        own = places[places < curve.shape[1]]
        for name, values in (("loss", found.middle), ("low", found.low), ("high", found.high)):
            arrays[name][row, : len(own)] = np.asarray(values, float)[own]
    smoothed = f" (running mean of {window} steps)" if window > 1 else ""
    axes = {
        "optimizer": Axis("optimizer", np.array(list(curves))),
        "step": Axis("inner step", places + 1),
    }
    both = ("optimizer", "step")
    several = any(len(curve) > 1 for curve in curves.values())
    label = f"training loss{smoothed}"
    band = ("low", "high") if several else None
    charts = (Chart("Training loss", "loss", label, "step", band=band, logarithmic=True),)
    each = np.array([seconds.get(name, math.nan) for name in curves])
    if np.isfinite(each).all() and (each > 0).all():
        arrays["seconds"] = each[:, None] * (places + 1)
        charts += (
            Chart("Training loss against time", "loss", label, "step", horizontal="seconds",
                  logarithmic=True),
        )  # fmt: skip
    return Findings(axes, {name: Measured(both, values) for name, values in arrays.items()}, charts)


def meta_training(metrics: MetaTraining) -> Findings:
    """The meta-loss against the meta-step, with its running mean."""
    places = thinned(len(metrics.step), _MOST_STEPS)
    window = 2 * (len(metrics.step) // 40) + 1
    known = np.where(np.isfinite(metrics.meta_loss), metrics.meta_loss, np.nan)
    mean = _running_mean(known, window)
    values = np.stack([known, mean, metrics.evaluation_loss])[:, places]
    names = np.array(["each report", f"running mean of {window}", "evaluation runs"])
    kept = np.isfinite(values).any(axis=1)
    return Findings(
        {
            "quantity": Axis("quantity", names[kept]),
            "step": Axis("meta-step", metrics.step[places]),
        },
        {"meta_loss": Measured(("quantity", "step"), values[kept])},
        (Chart("Meta-loss", "meta_loss", "meta-loss", "step", "quantity", logarithmic=True),),
    )


def _running_mean(values: Float[np.ndarray, " reports"], window: int) -> np.ndarray:
    half = window // 2
    pieces = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return np.array(
        [np.nanmean(piece) if np.isfinite(piece).any() else math.nan for piece in pieces]
    )
