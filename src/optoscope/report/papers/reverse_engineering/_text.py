"""The texts beside the figures of paper B."""

from optoscope.report.papers._figure import Reading

_UPDATE = (
    "An update function is what an optimizer does to a parameter, Δ, for each gradient g it could "
    "be given in one fixed state; minus its slope at 0 is the effective learning rate. "
)
_BEST = "Drawn is the meta-training seed with the least held-out loss; faint lines are the others."

PERFORMANCE_TEXT = Reading(
    "Above: the loss against the inner step, mean over the same test problems for every optimizer "
    "and one standard error around it. The baselines have the best of the settings that were "
    "searched at random. A line that ends in a cross has lost a run there. Below: condition "
    "numbers of the regression problems, the Rosenbrock function (star: its minimum), the two "
    "moons, and some of the images. " + _BEST,
    "Paired differences: problems differ far more than optimizers on one problem do, so bands "
    "that overlap say little; the claims use pairs. The meta-objective is the mean over a whole "
    "run: an optimizer may win by it and be behind at the last step.",
)
KNOWN_TEXT = Reading(
    _UPDATE + "Gradient descent is a line through 0; clipping saturates; momentum moves the line "
    "up or down by its velocity v; RMSProp changes the slope with the mean square s (dark: steep).",
    "What states an optimizer is in while it trains: these were chosen to show the shapes.",
)
MOMENTUM_TEXT = Reading(
    "First row: states of the optimizer on test problems, along the two directions of most "
    "variance; colored dots are places along the mode that contributes most at the convergence "
    "point. Second: the variance of states over problems; it falls to zero where all runs "
    "converge to one point. Third: " + _UPDATE[0].lower() + _UPDATE[1:] + "Colors are the places "
    "of the first row: momentum is a shift up or down that leaves the slope alone. Fourth: "
    "eigenvalues of the linearized dynamics, dark and large where the mode has much of the "
    "response to a gradient; |λ| is a momentum timescale, dashed that of tuned momentum. "
    "Last: the first four modes of the CNN's optimizer.",
    "What happens far from the convergence point, where the linearization does not hold. A white "
    "square is no fixed point: there eigenvalues describe a state that is still moving. Shares "
    "are of one gradient's response, not of the loss that a mode saves. Two directions may hide "
    "distances along a third.",
)
CLIPPING_TEXT = Reading(
    _UPDATE + "Above: at the trained initial state (orange) and at the convergence point (blue), "
    "beside the first one's tangent at 0. Where the update is less than half of the linear one "
    "the panel is shaded. Below: the density of the gradients met on the same axis, and how many "
    "of them lie in the shade. " + _BEST,
    "That clipping is what makes the optimizer good: few gradients may lie in the shade. Both are "
    "looked at in two states; between them the update function differs.",
)
SCHEDULE_TEXT = Reading(
    "First row: where the state goes by itself when every gradient is 0, from the trained initial "
    "state. Second: the effective learning rate along that path, from zero; dashed is the rate of "
    "tuned momentum. A rise and fall is a warm-up and a decay. Third: what is done to the "
    "parameter meanwhile, in units of the updates met in runs. Fourth: the cosine between the way "
    "from the start and the readout; dotted is what a random direction has. The paper says that "
    "the path is orthogonal to the readout: then the third row is flat and the fourth is near 0. "
    + _BEST,
    "The rate in a real run, where gradients move the state as well. The learning rate of "
    "momentum adds up over its memory, while an effective rate is that of one step.",
)
ADAPTATION_TEXT = Reading(
    "First row: the fixed point of the state for each gradient g* that is held for ever; filled "
    "is stable. Second: update functions at points along one arm, less their value at "
    "0. Third: the effective learning "
    "rate along both arms against the size of g*; dashed is the rate of tuned momentum. A slope "
    "that falls along both arms is a learning rate that adapts. Colors are g*, and logarithmic.",
    "How fast a state gets there: a gradient has to last for the memory of the optimizer. In a "
    "run gradients change sign, and the state seldom reaches an arm's end.",
)
GROUPS_TEXT = Reading(
    "Left: states of the CNN's optimizer, averaged over the parameters of one layer and type, "
    "from the common initial state on. Middle: the effective learning rate in those mean states. "
    "Right: sizes of the gradients of each layer, filled before the first update and outlined "
    "over all measured steps. Blue and solid: weights; orange and dashed: biases; darker: "
    "later. Black dot: initial state; square: convergence point.",
    "That the optimizer knows layers or types: it sees one gradient at a time, so whatever "
    "differs comes from the sizes and signs of gradients. The rate of a mean state is not the "
    "mean rate.",
)
MANIFOLD_TEXT = Reading(
    "States in which runs of the CNN's optimizer end, moved on without a gradient until they are "
    "nearly at rest. (a) where they lie; (b) update functions there; (c) the effective learning "
    "rate along the direction in which they differ most; (d) how fast they still move. A line of "
    "fixed points is thin (a high percentage in (c)), long (a high one in (d)) and slow.",
    "That they are fixed: a slow enough drift along a line looks the same. Whether the line is "
    "exact is for eigenvalues of 1 to say, in figure 3.",
)
LINES_TEXT = Reading(
    "As figure 13, for published optimizers whose loss stays down in long runs: states in which "
    "their runs at home end, moved on without a gradient. Above: the effective learning rate along "
    "the direction in which these points differ most; the title says how much of their variance "
    "lies along it, and how much of the variance of all visited states they have. Below: "
    "eigenvalues at the middle one of them; an exact line has one at 1.",
    "Other lines than the one that runs lead to. States were recorded at home, on the network of "
    "L2O-DM, and not on a CNN.",
)
RECOVERED_TEXT = Reading(
    "As figure 3, for the optimizer trained on random quadratics. (e): every mode as a learning "
    "rate and a timescale; green star: the best momentum found by search, red star: the closed "
    "form for heavy ball. Hollow: a negative rate. (f): the loss, relative to the first, of the "
    "learned optimizer, of its linearization, and of its first modes run as optimizers.",
    "A match of the stars and the first mode says that the linear part is momentum, not that the "
    "optimizer does nothing else: (f) shows what the rest adds. The closed form is the best "
    "asymptotic rate for the worst curvature, not the best mean loss over a finite run.",
)
META_TRAINING_TEXT = Reading(
    "(a): every mode at every kept checkpoint, from dark to yellow; the one that dominates in the "
    "end is large. Stars as in figure 14. (b), (c): that mode's learning rate and timescale, "
    "dashed the closed form for heavy ball; a dotted upright line is a checkpoint at which the "
    "match to the one before is a guess. (d): the loss on held-out problems. " + _BEST,
    "Anything between checkpoints. Modes are matched by the overlap of their eigenvectors; where "
    "eigenvalues meet they have no identity of their own. Where a checkpoint's dynamics have no "
    "fixed point there is no mark.",
)
VIOLIN_TEXT = Reading(
    "Each violin is the distribution over test problems of a run's mean loss; the dark bar is its "
    "mean and one standard error. Lower is better. The axis is logarithmic where values span more "
    "than a factor of ten. " + _BEST.partition(";")[0] + ".",
    "Paired differences, which are far clearer than the overlap of violins: the problems are the "
    "same for all optimizers. Lost runs are counted below a name and are not in its violin.",
)

SEARCH_TEXT = Reading(
    "Each cell is the best meta-objective over all configurations with these two values, "
    "whatever the others were; dark is good, and the colors are the same for all baselines. "
    "The star is the configuration taken: the best, or the best of those of the first round that "
    "ran again on further problems, which need not lie in the darkest cell. A star at a border "
    "says that a wider search might do better, and then the title says so.",
    "The score on fresh problems: the best of many noisy scores looks better than it is, and "
    "figures 1 and 17 use other problems. Cells differ in how many configurations they hold.",
)
