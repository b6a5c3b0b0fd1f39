"""The texts beside the figures of paper A."""

from optoscope.report.papers._figure import Reading

_COSINE = (
    "Σ|⟨u, ξ⟩| is the paper's measure and grows with the size of a step; the cosine does not. The "
    "dotted line is the cosine of a direction that does not know the symmetry: below it an update "
    "avoids the directions that gradients are confined from, at it the update ignores them."
)

ILLUSTRATION_TEXT = Reading(
    "Gray arrows are the field ξ along which x² + y² does not change. Gradient descent moves at "
    "right angles to them, so its deviation is zero; an optimizer that treats each coordinate by "
    "itself turns off that line.",
    "Anything about neural networks: there are only two coordinates here.",
)
LION_SGD_TEXT = Reading(
    "λ is Lion's share of the update; both advance on the same gradient. " + _COSINE,
    "That breaking the symmetry is what makes Lion faster: the learning rates are fixed (Lion "
    "0.005, SGD 0.5), so λ also changes the size of the step.",
)
PENALTY_TEXT = Reading(
    "Left: training loss of optimizers meta-trained with a penalty of strength β on their "
    "deviations, on the architecture of meta-training. Middle and right: what the penalty does to "
    "the deviations. " + _COSINE,
    "Why a penalized optimizer is slower: the paper's penalty also punishes large steps, which "
    "have large deviations whatever their direction.",
)
TRANSFER_TEXT = Reading(
    "Each panel names where the optimizers were meta-trained and where they are run. A line that "
    "leaves through the top has failed.",
    "How the optimizers compare with tuned baselines on these architectures.",
)
SWEEP_TEXT = Reading(
    "Mean loss and mean deviations over the run against the strength of the rescale penalty on "
    "leaky ReLU. A sweet spot would be a dip of the left panel's line that exceeds the spread of "
    "its dots.",
    "Other architectures or symmetries; and a meta-training that is too short has no sweet spot.",
)
RELEASED_TEXT = Reading(
    "As the left half of figure 5, but meta-trained as the program released with the paper does: "
    "the logarithm of the summed losses plus |β·Σ⟨u, ξ⟩|, in which neurons that deviate in "
    "opposite directions cancel. " + _COSINE,
    "That one protocol is right: next to a logarithm the same β weighs far more, and its deviation "
    "can be made small without any neuron keeping to its constraint.",
)
ANOTHER_TEXT = Reading(
    "A component-wise GRU (20 units, trained initial state, inputs log(1+|g|) and sign) is "
    "meta-trained like the LSTM and measured like it, on leaky ReLU. Above: loss and deviations; "
    "below: tail indices under the corrected protocol and the top eigenvalue.",
    "Whether optimizers that see more than one coordinate (second moments, layers) behave alike.",
)
OTHERS_TEXT = Reading(
    "The scale's own LSTM and the baselines, and beside them, where the scale and the weights "
    "allow it, an LSTM that was meta-trained as the paper says and those that Chen et al. (2020) "
    "published. Losses and the cosine of the deviations as in figure 4; the loss of one long run, "
    "averaged over a fiftieth of it; α of the updates under the corrected protocol. Lines are "
    "medians. The claims are those of figures 4, 8 and 10 to 12, judged for each of these "
    "optimizers by itself.",
    "What other meta-seeds would give: each of the others is one optimizer, and its runs are what "
    "is repeated. The published ones were meta-trained on the sigmoid network with a tiny start.",
)

GROUP_SIZE_TEXT = Reading(
    "The estimator compares single samples with sums of m. Noise that is α-stable gives the same "
    "α at every m, a flat line; noise of finite variance climbs toward 2 as m grows, whatever it "
    "shows at the m of the paper (near the root of the number of samples). Dotted: the same "
    "estimate for Gaussian noise with equal scales, zeros and correlations.",
    "Other moments of training: this is one state half-way through the compared steps.",
)


def sweep_text(what: str) -> Reading:
    """The text beside a sweep over a property of the task."""
    return Reading(
        f"Mean loss and mean deviations over the run against {what}. The baselines are tuned anew "
        "for each value, the learned optimizer is the one meta-trained on the standard leaky ReLU "
        "network, so to the sides it generalizes. " + _COSINE,
        "What meta-training at each value would give. An optimizer without a line deviates by "
        "rounding only.",
    )


DEVIATION_TEXT = Reading(
    "How far updates leave the constraints that the symmetry puts on gradients. " + _COSINE,
    "That larger deviations are good or bad. With the paper's measure an optimizer of larger "
    "steps lies higher by that alone. Values far below the others are rounding: plain "
    "gradients have none, and momentum has none for a translation.",
)

NOISE_TEXT = Reading(
    "Solid: the estimated tail index α of the noise over mini-batches (2 is Gaussian). Dotted: "
    "the same estimate for Gaussian noise with equal scales, zeros and correlations. Only a "
    "solid line below its dotted one speaks for heavy tails. Right: the largest eigenvalue of "
    "the update covariance, raw and relative to the squared mean update.",
    "A low α of the paper's estimator by itself shows nothing: unequal scales and dead pixels "
    "lower it as well. The raw eigenvalue grows with the square of the learning rate.",
)

HISTOGRAM_TEXT = Reading(
    "The share of all coordinates whose update has a given size, on logarithmic bins that all "
    "optimizers share, so that heights are comparable. The triangle at the left is the share "
    "below the bins, exact zeros included.",
    "In which coordinates or directions the updates are large.",
)
