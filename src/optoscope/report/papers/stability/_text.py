"""The texts beside the figures of paper C that are about meta-trained optimizers."""

from optoscope.report.papers._figure import Reading

_LEFT = (
    "Left: the loss of whole runs that meta-training did not see, mean over the horizon, clipped "
    "at 1.5 times what guessing costs (dotted), against the meta-step; lower is better. "
)
_RIGHT = (
    "Right: the kept optimizers on the same runs, far past the horizon (dashed) that they were "
    "meta-trained for; both axes are logarithmic, losses smoothed by an average of 0.98. A run "
    "counts as diverged if a loss is not finite or the smoothed one ends above the first; its "
    "cross is where it was last below the first loss, and how many there are stands beside the "
    "name. "
)
_KEPT = (
    "The optimizer kept is the one with the least held-out loss of its meta-training, which "
    "favors an arm with lucky evaluations. "
)
_DIFFERENT_SEEDS = "Arms may have different numbers of meta-seeds: some have one, and no band. "

COMPARED_TEXT = Reading(
    _LEFT + _RIGHT + "A curve that turns up after the dashed line is an optimizer that works only "
    "as long as it was trained to.",
    "Other tasks: training and both pictures are on one task. " + _KEPT + "A median hides what "
    "fewer than half of the runs do: crosses and faint lines show those.",
)
SEEDS_TEXT = Reading(
    "Above: the held-out loss of each meta-seed, and faintly what meta-training itself saw, a "
    "noisy loss under perturbed weights; the dot is the optimizer that is kept. Below: that "
    "optimizer's runs past the horizon (dashed) in the same color, their median thick; crosses "
    "are where diverged runs were last below their first loss. Axes are shared along a row.",
    "Which differences are more than chance: with few meta-seeds a bad one may be missing by "
    "luck. " + _KEPT + "Runs that stay below their first loss may still train badly.",
)
WEIGHT_DECAY_TEXT = Reading(
    _LEFT + _RIGHT + "Darker is more weight decay, relative to the meta-learning rate, on the "
    "weights of the optimizer's network; compare the horizon with what is behind it.",
    "A trend along the weight decay, unless it is larger than the spread of seeds. "
    + _DIFFERENT_SEEDS
    + _KEPT,
)
PRECONDITIONING_TEXT = Reading(
    _LEFT + _RIGHT + "Without preconditioning the learned update is not divided by the root of "
    "the second moment; all else is equal, the weight decay of 0.5 included.",
    "That preconditioning is what matters in general: it also changes the size of the first "
    "updates, hence how hard meta-training is. " + _DIFFERENT_SEEDS + _KEPT,
)
NOMINAL_TEXT = Reading(
    _LEFT + _RIGHT + "Without the nominal term only the network's own update is left; all else is "
    "equal, preconditioning and the weight decay of 0.5 included.",
    "Whether another nominal term would do as well: STAR's is a mixture of momenta divided as in "
    "Adam. " + _DIFFERENT_SEEDS + _KEPT,
)
SCALE_TEXT = Reading(
    _LEFT + _RIGHT + "β₃ scales the learned update of STAR. The paper's 1e-3, divided by the root "
    "of the second moment, makes the first steps far larger than the nominal ones; here it is "
    "beside 1e-4, 1e-5 and 1e-6.",
    "Which β₃ is best to within less than a decade; nor was the meta-learning rate tuned for any "
    "of them. " + _DIFFERENT_SEEDS + _KEPT,
)

UNSEEN_TEXT = Reading(
    "The loss on each task's minibatches, smoothed by an average of 0.98, against the inner "
    "step; lower is better. Thick: the median over meta-seeds and runs; faint: each run. All "
    "begin at the same parameters. Blackbox, Hyperparam and STAR were meta-trained on one "
    "other task; Adam and NAdamW were tuned on this one, by search. Dotted: what guessing "
    "costs. Diverged runs (not finite, or above the first loss in the end) are counted in the "
    "corner, and a cross is where one was last below its first loss.",
    "An equal contest: the baselines had a search on the very task, and the tuning of "
    "different contestants did not cost the same. The choice of tasks is ours, for the paper "
    "names four of its sixteen; networks are smaller below the paper's scale, and a task that "
    "was not measured at this scale has no panel. The loss is one of training.",
)
