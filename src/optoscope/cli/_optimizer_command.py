"""The common part of the commands that take saved optimizers."""

from dataclasses import dataclass

from optoscope.cli._command import RunCommand
from optoscope.cli._named_optimizers import trusted_classes


@dataclass(frozen=True, kw_only=True)
class OptimizerCommand(RunCommand):
    """Base of the commands that take saved optimizers.

    Args:
        trust: classes of yours that saved optimizers are of, separated by commas: FILE.py:CLASS or
            MODULE:CLASS. Loading such an optimizer runs that code.
    """

    trust: str = ""

    def check_trust(self) -> None:
        """Refuses a wrong `trust` before anything is made, needed or not; see `trusted_classes`."""
        if self.trust:
            trusted_classes(self.trust)
