"""Papers as scripts: their figures and claims as data, and one function that measures them."""

from optoscope.papers import symmetry_and_noise

__all__ = ["symmetry_and_noise"]
