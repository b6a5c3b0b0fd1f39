"""optoscope import: weights that others published, as an optimizer of this library."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from optoscope.cli._command import Command
from optoscope.cli._console import console


@dataclass(frozen=True, kw_only=True)
class Import(Command):
    """Save published weights as an optimizer folder, which evaluate and explain take.


    Args:
        kind: what the file holds: celo2, celo, l2o-dm, rnnprop or adafac.
        file: the weight file: Flax msgpack, safetensors, npz, or a PyTorch zip file.
        out: the folder to write.
        num_steps: for celo: the length of training.
        learning_rate: for celo2.
        orthogonalize: for celo2: orthogonalize matrices and leave the rest to Adam.
    """

    name: ClassVar[str] = "import"

    kind: tyro.conf.Positional[str]
    file: tyro.conf.Positional[Path]
    out: Path
    num_steps: int | None = None
    learning_rate: float | None = None
    orthogonalize: Annotated[bool | None, tyro.conf.FlagConversionOff] = None

    def run(self) -> int:
        """Reads, checks and saves."""
        import hashlib

        from optoscope import optimizers
        from optoscope._core.files import read_bytes

        given = {
            name: getattr(self, name) for name in ("num_steps", "learning_rate", "orthogonalize")
        }
        options: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        made = optimizers.load_published(self.kind, self.file, **options)
        sha256 = hashlib.sha256(read_bytes(self.file, most=2**30)).hexdigest()
        metadata = {"published": self.kind, "sha256": sha256, "file": self.file.name}
        for known in map(optimizers.WEIGHTS.__getitem__, optimizers.WEIGHTS):
            if known.sha256 == sha256:
                metadata |= {"license": known.license, "cite": known.cite, "url": known.url}
        optimizers.save(self.out, made, metadata)
        console.print(
            f"Saved to {self.out}; look at it with optoscope evaluate {self.out}", highlight=False
        )
        return 0
