"""The learned optimizers of this library for PyTorch, in plain PyTorch: nothing here needs JAX."""

from optoscope.torch._learned_optimizer import LearnedOptimizer

__all__ = ["LearnedOptimizer"]
