"""The panels that come with the library, with the words beside them."""

from optoscope.analysis.inspection._coordinate_view import dynamics_panel
from optoscope.analysis.inspection._cost import cost_panel
from optoscope.analysis.inspection._geometry import geometry
from optoscope.analysis.inspection._learning_rates import learning_rate_panel
from optoscope.analysis.inspection._noise import noise_panel
from optoscope.analysis.inspection._panels import Panel
from optoscope.analysis.inspection._stability import stability_panel
from optoscope.analysis.inspection._symmetry import symmetry_panel
from optoscope.analysis.inspection._update_functions import update_function_panel

REGISTERED: dict[str, Panel] = {
    "update-function": Panel(
        "The update as a function of the gradient",
        update_function_panel,
        "One coordinate's gradient is varied, and everything else stays as it was met at that step "
        "of the first optimizer's run: parameters, state, counters and the other coordinates. A "
        "straight falling line is gradient descent, a step at zero is a sign, a curve that bends "
        "over clips. Where it crosses the upright axis away from zero, momentum moves the "
        "parameter without a gradient. Move the slider from early to late.",
        "What a sequence of gradients does: the state is held. Where the other coordinates matter, "
        "the curve belongs to the one gradient that was met; the second chart says how much of the "
        "update's variance over batches is theirs.",
    ),
    "geometry": Panel(
        "The geometry of the update",
        geometry,
        "All optimizers are given the same gradients at the parameters of the first one's run. The "
        "first chart says which single direction explains an update: the squared cosine with it, "
        "so 100% is a multiple of that direction. Below, the cosine with the negative gradient, "
        "and with the directions of Adam and of momentum that were given the same gradients; sizes "
        "by layer; and the spectrum of matrices: Muon makes all singular values equal, so its "
        "effective rank is full, where a gradient's is low.",
        "Which direction is better. The shares overlap, since the directions are not orthogonal to "
        "each other: a sign of the gradient is also partly the gradient. The optimizers that do "
        "not run see gradients at places where they would not have gone.",
    ),
    "learning-rate": Panel(
        "Effective learning rate and schedule",
        learning_rate_panel,
        "How far each layer moves per unit of gradient. What depends on time alone is found by "
        "running each optimizer, counters included, under one gradient that never changes: there a "
        "schedule, a bias correction or a filling average is all that can change the step. What "
        "is left, the step of the run over that one, is the optimizer's answer to the gradients.",
        "That a schedule was given on purpose: momentum also grows under a constant gradient while "
        "its average fills. The part along the gradient is small and noisy where the update is "
        "nearly orthogonal to the batch's gradient, and can be negative.",
    ),
    "dynamics": Panel(
        "Memory: fixed points and modes",
        dynamics_panel,
        "Only for optimizers that work on each coordinate by itself: the map of one coordinate is "
        "compared with the updates that were made, and left out where it misses them. The S-curve "
        "is the update that the state settles on under each constant gradient; a straight line is "
        "linear, a plateau clips. A mode is a momentum with a timescale (its decay per step, 1 "
        "forgets nothing) and a learning rate; the largest share says which memory matters.",
        "What happens far from the state that it was linearized at, which is that of the median "
        "coordinate at the end of the run. Mode numbers are not comparable between optimizers.",
    ),
    "stability": Panel(
        "Stability: will it last?",
        stability_panel,
        "Each optimizer on its own runs. The line is the largest curvature of the loss there, by "
        "Lanczos on Hessian-vector products over eight batches; dotted, the largest curvature on "
        "which the optimizer is stable with the state it has at that step. A line above its dotted "
        "one is unstable to first order. What is no map of one coordinate (Muon, SOAP, Celo2) has "
        "no dotted line, and its sentence says so: what is left of the question is the curvature "
        "that it comes to, and the second chart, a run of ten times the length.",
        "A guarantee: the edge is that of a coordinate with the median state on a quadratic, and a "
        "preconditioner that shrinks the sharpest direction allows more. Signs have no such edge. "
        "Two long runs are no proof.",
    ),
    "symmetry": Panel(
        "Symmetries of the network",
        symmetry_panel,
        "Along a symmetry the loss does not change, so a gradient has nothing there. The cosine "
        "says how much of the update lies along it; dotted, what a direction would have that knows "
        "nothing of it. Below the dotted line it keeps the symmetry, above it seeks it. Symmetries "
        "are those that the task declares; for one that declares none, and has at most 2,000 "
        "parameters, they are searched for, and the first sentence says what was found.",
        "Whether breaking a symmetry helps. What has no name, or was not declared, is not here.",
    ),
    "noise": Panel(
        "The noise of the update",
        noise_panel,
        "Each optimizer is given forty fresh batches at three steps of the first one's run. The "
        "tail index α is 2 for Gaussian noise; only a value below the dotted one, which is that of "
        "Gaussian noise with the same scales and correlations, speaks for heavy tails. The "
        "spectrum says whether the noise lies along few directions.",
        "That the noise is α-stable: α is estimated as if it were. Forty batches have no more than "
        "39 directions, whatever the network.",
    ),
    "cost": Panel(
        "What it costs",
        cost_panel,
        "The time of one update alone, beside the time of the gradient, and the memory of the "
        "state, per parameter: four bytes are one number.",
        "Other machines and other sizes: small networks pay for starting the computation. In a "
        "compiled run gradient and update share work, so the sum can be less.",
    ),
}
