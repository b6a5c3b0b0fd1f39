"""What all parts of one reproduction share, whatever the paper."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setting:
    """What all parts of one reproduction share; a paper adds how it makes its tasks.

    Args:
        scale: the counts.
        seed: of everything random.
        data_dir: where datasets lie; not part of any configuration, since data are checked.
        devices: local devices to spread meta-training's problems over; results differ by rounding.
    """

    scale: Any
    seed: int = 0
    data_dir: Path | None = None
    devices: int = 1

    @property
    def data_options(self) -> dict[str, Any]:
        """The options of every task on a dataset.

        Nothing is held out for validation: what is meta-trained is judged on its training loss.
        """
        options: dict[str, Any] = {"validation_size": 0}
        return options if self.data_dir is None else options | {"data_dir": self.data_dir}
