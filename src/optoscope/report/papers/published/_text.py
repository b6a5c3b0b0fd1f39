"""The texts beside the figures of the published optimizers."""

from optoscope.report.papers._figure import Reading

DRIVEN_TEXT = Reading(
    "Every optimizer is given an 8×8 matrix of parameters and, at every step, normal numbers of "
    "one size as its gradient. Above: the size of its updates at the end of the run against the "
    "size of the gradients, both logarithmic; a line of slope 1 is gradient descent, a flat one "
    "does not see the size, as Adam does not. Flat at the left end: its steps do not vanish with "
    "the gradients. Below: the size of updates over the steps, at gradients of 0.001, relative to "
    "the second tenth of the run: what falls has a schedule of its own, since the gradients stay "
    "as they are.",
    "What an optimizer does where gradients have a direction: these are noise alone, which memory "
    "averages away. Celo, Celo2, STAR, the general optimizer and Muon see the whole matrix, so "
    "that another shape could give other sizes.",
)
INSIDE_TEXT = Reading(
    "The state of a single coordinate. Above: what it does on meeting each gradient, at a typical "
    "state late in runs at home, and after 2,000 further steps without any gradient; updates are "
    "linear up to 0.0001 and logarithmic beyond. Where a curve misses the middle, the optimizer "
    "moves without a gradient; where the two pictures differ, silence has changed it. Below, all "
    "after the silence: how much the state still changes at every step; the memories of its "
    "modes, larger dots being larger shares of the impulse response (a memory of a million steps "
    "stands for longer ones too); and the update without a gradient over the response to one of "
    "0.001.",
    "Optimizers whose coordinates hang together (Celo, Celo2, STAR, the general one, Muon): their "
    "state has no single coordinate. And what happens under gradients: modes are those of small "
    "changes, and no run is ever silent. Lion's sign has no derivative, and no modes; it goes on "
    "by the sign of an average that is never quite zero.",
)
PROBED_TEXT = Reading(
    "Left: how far updates point along the rescaling symmetry of leaky ReLU, to which gradients "
    "are orthogonal; 1 is a direction that knows nothing of it. Right: the tail index of the "
    "noise of updates (dot) and of gradients (cross), and of Gaussian noise with the scales and "
    "correlations of the updates (stroke). A mark per run.",
    "Whether breaking a symmetry or light tails help. An α below 2 whose stroke is as low says "
    "nothing of heavy tails: unequal scales alone lower it.",
)
CURVATURE_TEXT = Reading(
    "Runs on ½λφ² from φ = 1, without noise, a square for each curvature; its color is the largest "
    "|φ| in the last quarter of the run: yellow where φ has come to its minimum, dark where it "
    "stays as far as it began. A white cross is a run that grows without end. The black line below "
    "a row: the curvatures that are stable by the linearization at the state of figure 2, for "
    "small gradients.",
    "Stability on networks, whose curvatures are many and change. Steps of a size of their own "
    "keep a run at about that size from the minimum, which no long run with noise need suffer "
    "from. Adam, Lion, Muon and Celo2 have one fixed learning rate here; with another one their "
    "rows shift.",
)
LONG_TEXT = Reading(
    "The median over runs of the moving average (0.98) of the training loss; both axes are "
    "logarithmic. A row for each family, a column for each task; thin lines are Adam, Lion and "
    "Muon, the same in every row, at the constant learning rate that ended lowest in runs of this "
    "length, as Celo2 is. All others run as they were published. A line that turns up again has "
    "not lasted; one that leaves through the top has diverged, one that leaves through the bottom "
    "is below ten decades.",
    "Generalization: these are losses of training batches. And the spread over runs, for which "
    "the claims have intervals. No schedule was tuned for anyone.",
)
FORETOLD_TEXT = Reading(
    "A mark for each learned optimizer. Across: five numbers that its weights give without any "
    "long run (figures 1, 2 and 4), each such that more is expected to last less. Upwards: the "
    "share of their decrease that its long runs had given back in the end, mean over the four "
    "tasks. Below, right: Spearman's rank correlation of the two on each task, over those "
    "optimizers of which all five are known; +1 would foretell it without fail.",
    "A proof: there are few optimizers, several of them relatives, and six measures were tried "
    "(the power of gradients was dropped before this run), so that one of them would look good "
    "by chance. Drift and memory are known of those "
    "optimizers alone that update each coordinate by itself.",
)
