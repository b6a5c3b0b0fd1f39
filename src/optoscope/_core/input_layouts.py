"""Which inputs a small learned optimizer has, in what order, and how they are normalized.

JAX's optimizers and PyTorch's both read it here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optoscope._core.step_sizes import SHORTEST_RUN

# Of the covariances whose eigenbases matrices are seen in, as of the second moment there.
EIGENBASES_DECAY = 0.95
# A longer side keeps its own axes: its covariance would hold more numbers than many networks.
LONGEST_SIDE = 2048
# Nominal directions with learned weights: how many they have, of the gradient and then the momenta.
MIXTURES = {"nesterov": 2, "mixed": 4}
# Where a tensor's size changes nothing about the size of its steps.
_USUAL_SIDE = 32
# A part of a gradient in these bases that is below this share of its root mean square is what
# rounding left of nothing: divided by its own size it would be as large as any.
SMALLEST_SHARE = 1e-5
# Of the second moment in these bases: ε, where gradients are zero in many directions.
EIGENBASES_OFFSET = 1e-16
TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
FACTORED_DECAYS = (0.9, 0.99, 0.999)
SECOND_MOMENT_DECAY = 0.999
# The least and the greatest that the clipped gradient can be.
GRADIENT_CLIP = 0.1


@dataclass(frozen=True)
class StartingDecays:
    """The decays d₀ that the averages start from, or keep if they are fixed."""

    momentum: tuple[float, ...] = MOMENTUM_DECAYS
    factored: tuple[float, ...] = FACTORED_DECAYS
    second_moment: float = SECOND_MOMENT_DECAY


@dataclass(frozen=True)
class InputLayout:
    """Where each group of inputs starts, and the constants in them.

    The groups of three, one input for each of three decays, are those whose names are plural.
    Names: g gradient, m momentum, v second moment, R and C the factored averages, r and c their
    inverse roots; see `optimizers/_accumulators.py` and `optimizers/_inputs.py`.

    Args:
        gradient: place of g.
        parameter: of p.
        momenta: of m_k.
        second_moment: of v.
        normalized_momenta: of m_k (v + ε)^(-1/2).
        preconditioner: of (v + ε)^(-1/2).
        factored_gradients: of g r_k c_k.
        rows: of R_k, spread over the largest axis.
        columns: of C_k, spread over the second largest axis.
        row_roots: of (R_k + 1e-8)^(-1/2).
        column_roots: of (C_k + 1e-8)^(-1/2).
        factored_momenta: of m_k r_k c_k.
        clipped_gradient: of g clipped to ±0.1; None where there is no such input.
        preconditioned_gradient: of g (v + ε)^(-1/2); None where there is no such input.
        num_normalized: how many inputs these are.
        with_time: whether eleven functions of the step count follow.
        with_averages_of_vectors: whether tensors of rank below 2 have the inputs from `rows` to
            `factored_momenta`, with D_k in place of R_k and C_k.
        second_moment_offset: ε.
        vector_offset: added to D_k where it divides a momentum.
        normalizer_offset: added to the mean square that an input is divided by the root of.
        over_last_two_axes: whether that mean is over the last two axes, not over all of them.
    """

    gradient: int
    parameter: int
    momenta: int
    second_moment: int
    normalized_momenta: int
    preconditioner: int
    factored_gradients: int
    rows: int
    columns: int
    row_roots: int
    column_roots: int
    factored_momenta: int
    clipped_gradient: int | None = None
    preconditioned_gradient: int | None = None
    num_normalized: int = 28
    with_time: bool = True
    with_averages_of_vectors: bool = True
    second_moment_offset: float = 1e-6
    vector_offset: float = 1e-6
    normalizer_offset: float = 1e-5
    over_last_two_axes: bool = False

    @property
    def num_inputs(self) -> int:
        """The number of inputs, those that tell the time included."""
        return self.num_normalized + self.with_time * len(TIME_SCALES)

    @property
    def row_indices(self) -> tuple[int, ...]:
        """Where the stacked features of rows stand: R_k, then the roots."""
        return (*_three(self.rows), *_three(self.row_roots))

    @property
    def column_indices(self) -> tuple[int, ...]:
        """Where the stacked features of columns stand: C_k, then the roots."""
        return (*_three(self.columns), *_three(self.column_roots))


def _three(start: int) -> tuple[int, int, int]:
    return start, start + 1, start + 2


# Metz et al. (2022), `small_fc_lopt`, and AdafacLO and MuLO, which have the same inputs.
SMALL_FC = InputLayout(
    gradient=0,
    parameter=1,
    momenta=2,
    second_moment=5,
    normalized_momenta=6,
    preconditioner=9,
    factored_gradients=10,
    rows=13,
    columns=16,
    row_roots=19,
    column_roots=22,
    factored_momenta=25,
)


def _celo(**differences: float | bool) -> InputLayout:
    return InputLayout(
        gradient=0,
        clipped_gradient=1,
        parameter=2,
        momenta=3,
        second_moment=6,
        normalized_momenta=7,
        preconditioner=10,
        factored_gradients=11,
        preconditioned_gradient=14,
        rows=15,
        columns=18,
        row_roots=21,
        column_roots=24,
        factored_momenta=27,
        num_normalized=30,
        with_time=False,
        **differences,  # type: ignore[arg-type]
    )


# Celo's inputs are VeLO's; Celo2 leaves out what its authors' program leaves out of a vector.
CELO = _celo(vector_offset=0.0)
CELO2 = _celo(
    with_averages_of_vectors=False,
    second_moment_offset=1e-8,
    normalizer_offset=1e-9,
    over_last_two_axes=True,
)
CELO2_DECAYS = StartingDecays(second_moment=0.95)
# The features of `optimizers.GeneralOptimizer` by name, and how fast the averages behind them
# forget.
INPUTS: dict[str, tuple[InputLayout, StartingDecays]] = {
    "celo2": (CELO2, CELO2_DECAYS),
    "small_fc": (SMALL_FC, StartingDecays()),
}


def matrices_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Number, rows and columns of the matrices that a tensor of rank 2 or more is made of.

    A kernel of rank 4 is one matrix with a row for every weight of an output.

    Example:
        >>> matrices_shape((5, 3)), matrices_shape((7, 5, 3)), matrices_shape((3, 3, 2, 8))
        ((1, 5, 3), (7, 5, 3), (1, 18, 8))
    """
    if len(shape) == 4:
        return 1, math.prod(shape[:3]), shape[3]
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def log_sides(shape: Sequence[int]) -> tuple[float, float, float]:
    """1, and a tenth of the logarithms of the rows and columns of a tensor's matrices.

    A kernel of rank 4 has a row for every weight of an output; a vector is one column.

    Example:
        >>> log_sides((3, 1)) == log_sides((3,)) == (1.0, math.log(3) / 10, 0.0)
        True
    """
    rows, columns = _sides(shape)
    return 1.0, math.log(rows) / 10, math.log(columns) / 10


def log_sizes(shape: Sequence[int], num_steps: int | None) -> tuple[float, float, float, float]:
    """The logarithms of what sizes of steps are learned powers of.

    They are those of a matrix's rows and columns and of a vector's length, all over 32, and of the
    run's length over 1,000 steps. A tensor has the first two or the third; what it does not have,
    or what is not known, is zero. A run below 100 steps counts as one of 100: a power that was
    learned on longer ones is too much for it.

    Example:
        >>> log_sizes((32, 64), None) == (0.0, math.log(2), 0.0, 0.0)
        True
        >>> log_sizes((64,), 1000) == (0.0, 0.0, math.log(2), 0.0)
        True
        >>> log_sizes((32,), 10) == log_sizes((32,), 100)
        True
    """
    rows, columns = (math.log(side / _USUAL_SIDE) for side in _sides(shape))
    sides = (rows, columns, 0.0) if len(shape) > 1 else (0.0, 0.0, rows)
    length = 0.0 if num_steps is None else math.log(max(num_steps, SHORTEST_RUN) / 1000)
    return *sides, length


def _sides(shape: Sequence[int]) -> tuple[int, int]:
    rows, columns = matrices_shape(shape)[1:] if len(shape) > 1 else (math.prod(shape), 1)
    return max(rows, 1), max(columns, 1)
