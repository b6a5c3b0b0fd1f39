"""The time of an update of every optimizer beside Adam's, for `optoscope list optimizers`.

Each takes turns with Adam in one process on one matrix whose gradients change; a time is the median
over rounds of the ratio to Adam's in the same round. `--write` stores the ratios where the library
reads them, those of `--only` beside the others'.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jax
from _results import ROOT, describe_machine
from _timing import Run, print_ratios, side_by_side

from optoscope import optimizers
from optoscope._core.programs import Program
from optoscope.cli._optimizer_table import hand_designed, learned
from optoscope.optimizers._base import OptimizerModule, extra_arguments
from optoscope.optimizers._costs import MEASURED, how_measured, step_times

GUIDE = ROOT / "docs" / "guide" / "optimizers.md"
BEGIN, END = "<!-- begin: benchmarks/optimizer_steps.py --write -->", "<!-- end -->"


def updates_of(optimizer: OptimizerModule, size: int, steps: int) -> Run:
    """A scan of `steps` updates of a size × size matrix, on the loss Σ a p² / 2."""

    @Program
    def run(optimizer, params, curvature):
        def loss(params):
            return 0.5 * (curvature * params**2).sum()

        def step(carry, _):
            params, state = carry
            # What the gradient depends on alone must not be taken out of the scan.
            grads = jax.lax.optimization_barrier(curvature * params)
            extra = extra_arguments(loss(params), grads, loss)
            updates, state = optimizer.update(grads, state, params, **extra)
            return (params + updates, state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)[0][0]

    params = jax.random.normal(jax.random.key(0), (size, size))
    curvature = jax.random.uniform(jax.random.key(1), (size, size))
    return lambda: run(optimizer, params, curvature)


def made() -> dict[str, list[str]]:
    """Names by the same class and configuration, of which one needs to be measured."""
    groups: dict[str, list[str]] = {name: [name] for name in optimizers.names()}
    shapes: dict[str, str] = {}
    for name in optimizers.pretrained_names():
        found = optimizers.read_description(name)
        # Numbers that only scale something do not change what is computed.
        settings = {k: v for k, v in found["configuration"].items() if not isinstance(v, float)}
        # Only averages make another program of it.
        settings["averages"] = settings.pop("input_scaling", None) == "normalized"
        shape = json.dumps([found["class"], settings], sort_keys=True)
        groups.setdefault(shapes.setdefault(shape, name), []).append(name)
    return groups


def measured(options: argparse.Namespace) -> dict[str, float]:
    """The ratios by name."""
    times: dict[str, float] = {}
    for first, names in made().items():
        if options.only and not set(names) & set(options.only):
            continue
        loaded = first in optimizers.pretrained_names()
        takes_length = not loaded and optimizers.entry(first).takes_num_steps
        own = (
            optimizers.load(first)
            if loaded
            else optimizers.get(first, **({"num_steps": 1000} if takes_length else {}))
        )
        candidates = {
            "adam": updates_of(optimizers.adam(), options.size, options.steps),
            first: updates_of(own, options.size, options.steps),
        }
        seconds = side_by_side(candidates, options.rounds)
        print_ratios({first: seconds[first], "adam": seconds["adam"]}, "adam", "a round")
        pairs = zip(seconds[first], seconds["adam"], strict=True)
        ratio = 1.0 if first == "adam" else statistics.median(own / adam for own, adam in pairs)
        times |= dict.fromkeys(names, float(f"{ratio:.2g}"))
    return times


def write(times: Mapping[str, float], options: argparse.Namespace) -> None:
    """Stores the ratios, and with what they were measured."""
    before: dict[str, Any] = {}
    if options.only and MEASURED.is_file():
        before = json.loads(MEASURED.read_text(encoding="utf-8"))["times"]
    machine = describe_machine("")
    known = (*optimizers.names(), *optimizers.pretrained_names())
    found = {name: (before | dict(times))[name] for name in known if name in {**before, **times}}
    how = {
        "by": "benchmarks/optimizer_steps.py",
        "what": f"time of an update of a {options.size} x {options.size} matrix in float32 with "
        f"changing gradients, in Adam's: median of {options.rounds} rounds of {options.steps} "
        "updates beside Adam",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine,
    }
    text = json.dumps({"measured": how, "times": found}, indent=2, ensure_ascii=False)
    MEASURED.write_text(text + "\n", encoding="utf-8")
    step_times.cache_clear()
    before_table, _, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    after_table = rest.partition(END)[2]
    GUIDE.write_text(f"{before_table}{BEGIN}\n{table()}\n{END}{after_table}", encoding="utf-8")


def table() -> str:
    """The table of the guide: every optimizer with what it costs."""
    lines = [
        f"Times on {how_measured()}.",
        "",
        "| name | state, bytes a parameter | time of an update, in Adam's | what it is |",
        "| --- | --- | --- | --- |",
    ]
    for family, rows in (hand_designed() | {"learned": learned()}).items():
        lines.append(f"| **{family}** | | | |")
        for row in rows:
            name, state, time, description = row.cells
            shown = name.strip() if name.startswith(" ") else f"`{name}`"
            lines.append(f"| {shown} | {state.removesuffix(' B')} | {time} | {description} |")
    return "\n".join(lines)


def main() -> None:
    """Prints a table for each optimizer, and writes the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=[], help="names; all if not given")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    times = measured(options)
    if options.write:
        write(times, options)


if __name__ == "__main__":
    main()
