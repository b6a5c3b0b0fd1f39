"""Named datasets as device arrays, with fixed splits and checked content.

`load` finds, fetches, checks and splits; what it returns is a pytree of arrays, so that tasks can
draw batches by index inside a compiled program.
"""

from optoscope.data._dataset import Dataset, Split, TextDataset
from optoscope.data._fetch import data_directory
from optoscope.data._load import load, names

__all__ = ["Dataset", "Split", "TextDataset", "data_directory", "load", "names"]
