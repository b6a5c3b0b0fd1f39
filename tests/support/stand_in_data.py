"""Files of datasets as they are downloaded, with next to nothing in them."""

import gzip
from pathlib import Path

import numpy as np

TEXT = "All the world's a stage, and all the men and women merely players. " * 30


def write_text(folder: Path) -> None:
    """Shakespeare's plays: one line again and again."""
    (folder / "tinyshakespeare").mkdir()
    (folder / "tinyshakespeare" / "input.txt").write_text(TEXT)


def write_images(folder: Path) -> None:
    """MNIST: ten black images for training and ten for testing."""
    (folder / "mnist").mkdir()
    for name, shape in (("images-idx3", (10, 28, 28)), ("labels-idx1", (10,))):
        sizes = b"".join(size.to_bytes(4, "big") for size in shape)
        content = bytes([0, 0, 8, len(shape)]) + sizes + bytes(int(np.prod(shape)))
        for split in ("train", "t10k"):
            place = folder / "mnist" / f"{split}-{name}-ubyte.gz"
            place.write_bytes(gzip.compress(content, mtime=0))
