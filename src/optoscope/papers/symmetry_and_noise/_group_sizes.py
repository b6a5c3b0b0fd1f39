"""How the estimated tail index depends on the size of the groups, which is free to choose."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from optoscope import training
from optoscope._core.keys import stream
from optoscope.analysis.noise import alpha_against_group_size, noise_samples
from optoscope.papers._meta_trained import learned, load_learned
from optoscope.papers._parts import Arrays, Part, Workspace
from optoscope.papers.symmetry_and_noise._learn import baseline, training_of, tuned
from optoscope.papers.symmetry_and_noise._setting import Setting


def group_sizes(setting: Setting, variant: str = "leaky-relu") -> Part:
    """α against the group size m, with its Gaussian surrogate, in the middle of training.

    `<optimizer>/<quantity>/<protocol>/<field>`, for gradients and updates of tuned momentum and
    of a meta-trained optimizer, half-way through the steps in which performance is compared.
    """
    scale, how = setting.scale, training_of(setting, variant)
    tuning, trained = tuned(setting, variant), learned(setting, how, 0)
    counts: dict[str, Any] = {
        "num_steps": scale.performance_steps // 2,
        "num_batches": scale.noise_batches,
    }

    def compute(needed: Mapping[str, Arrays], workspace: Workspace) -> Arrays:
        task = setting.task(variant)
        contestants = {
            "momentum": baseline(needed[tuning.name], "momentum"),
            "lstm": load_learned(needed[trained.name], how),
        }
        arrays, done = {}, 0
        for name, optimizer in contestants.items():
            run = training.train(
                task, optimizer, counts["num_steps"], key=stream(setting.seed, "evaluation")
            )
            params, state = jax.tree.map(lambda leaf: leaf[0], (run.params, run.state))
            for quantity in ("gradient", "update"):
                samples = noise_samples(
                    task,
                    optimizer,
                    params,
                    state,
                    key=stream(setting.seed, "noise"),
                    quantity=quantity,
                    batches="epoch",
                    num_batches=scale.noise_batches,
                )
                for protocol in ("paper", "corrected"):
                    curve = alpha_against_group_size(
                        samples, protocol=protocol, key=stream(setting.seed, "surrogate")
                    )
                    for field, values in dataclasses.asdict(curve).items():
                        arrays[f"{name}/{quantity}/{protocol}/{field}"] = np.asarray(values)
                done += 1
                workspace.report(done, 4)
        return arrays

    described, needs = setting.described(variant, **counts), (tuning, trained)
    # 2: tail indices of coordinates that are never silent.
    return Part(f"group-size-{variant}", described, compute, needs, version=2)
