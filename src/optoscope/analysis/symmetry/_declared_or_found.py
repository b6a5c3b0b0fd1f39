"""The symmetries to measure a task by: those that it declares, or else those that are found."""

from dataclasses import dataclass

from optoscope._core.errors import InvalidValueError
from optoscope.analysis.symmetry._discover import Discovery, discover
from optoscope.analysis.symmetry._task import declares_symmetries, num_params, task_symmetries
from optoscope.tasks import Symmetry, Task, TaskDistribution


@dataclass(frozen=True)
class DeclaredOrFound:
    """Symmetries by name, and where they come from.

    Args:
        symmetries: at least one.
        discovery: what was found; None where the task declares its symmetries.
    """

    symmetries: dict[str, Symmetry]
    discovery: Discovery | None = None


def declared_or_found(
    task: Task | TaskDistribution, *, most_params: int | None = None
) -> DeclaredOrFound:
    """The symmetries that a task declares, or for one that declares none what `discover` finds.

    Args:
        task: the problem, or a distribution of problems.
        most_params: the most parameters of a task that is searched; any number if not given.

    Raises:
        InvalidValueError: it declares none, and none were found, or it is too large to be
            searched.
    """
    if declares_symmetries(task):
        return DeclaredOrFound(task_symmetries(task))
    size = num_params(task)
    if most_params is not None and size > most_params:
        raise InvalidValueError(
            f"the task declares no symmetries, and they are not searched for here, since it has "
            f"{size:,} parameters and a search takes long above {most_params:,}. Give its class "
            "a method `symmetries(params)`, or give what analysis.symmetry.discover finds."
        )
    try:
        found = discover(task)
    except InvalidValueError as error:
        raise InvalidValueError(
            f"the task declares no symmetries, and they cannot be found: {error}"
        ) from error
    if not found.symmetries:
        raise InvalidValueError(
            f"the task declares no symmetries, and none were found: {found}. Measure something "
            "else, or give its class a method `symmetries(params)`."
        )
    return DeclaredOrFound(found.symmetries, found)
