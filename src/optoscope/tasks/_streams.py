"""Batches that come from the host: read while the device computes, by seed and step."""

import inspect
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from optoscope._core.errors import InvalidValueError

Make = Callable[[int], Iterable[Any]]
_HOW = (
    "Give a function of a seed that returns a fresh iterator, such as "
    "`lambda seed: iter(loader.shuffle(seed))`, a PyTorch DataLoader, or arrays."
)
# Iterators kept open: the runs that advance side by side have one each.
_OPEN = 64
_SEEDING = threading.Lock()


@dataclass
class _Position:
    """An open iterator and the position of its next batch."""

    iterator: Iterator[Any]
    epoch: int
    step: int


class Stream:
    """Batches as a function of a seed and a step, read from iterators on the host.

    A pass over the data is one iterator, `make(seed of that pass)`; where it ends the next pass
    begins. So equal seeds always give equal batches: two optimizers that are compared see
    the same ones, and a run that is resumed goes on where it stopped. An earlier step than the
    last one is reached by reading from the start again. The next batch is read in a thread while
    the device computes.

    Args:
        make: from a seed to an iterable of batches, pytrees of arrays of the same shapes every
            time; a last batch that is smaller is left out. It must give the same batches for
            the same seed.

    Raises:
        InvalidValueError: an iterator gives no batch, or batches of several shapes.
    """

    def __init__(self, make: Make):
        self._make = make
        self._pool = ThreadPoolExecutor(1, "optoscope-stream")
        self._open: OrderedDict[int, _Position] = OrderedDict()
        self._ahead: dict[int, tuple[int, Future]] = {}
        self._lock = threading.Lock()
        first = self._start(0)
        self._example = _as_arrays(self._next(first, 0))
        self.shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)
            ),
            self._example,
        )

    def batch(self, seed: int, step: int) -> PyTree[np.ndarray]:
        """The batch of a step, from 0, of the stream with that seed."""
        with self._lock:
            ahead = self._ahead.pop(seed, None)
        found = ahead[1].result() if ahead is not None and ahead[0] == step else None
        if found is None:
            found = self._pool.submit(self._read, seed, step).result()
        with self._lock:
            self._ahead[seed] = step + 1, self._pool.submit(self._read, seed, step + 1)
            while len(self._ahead) > _OPEN:
                self._ahead.pop(next(iter(self._ahead)))
        return found

    def _read(self, seed: int, step: int) -> PyTree[np.ndarray]:
        """Only ever called in the one thread of the pool."""
        position = self._open.pop(seed, None)
        if position is None or position.step > step:
            position = self._start(seed)
        while True:
            batch = self._next(position, seed)
            if position.step == step + 1:
                break
        self._open[seed] = position
        while len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return self._checked(_as_arrays(batch))

    def _start(self, seed: int) -> _Position:
        return _Position(iter(self._make(_epoch_seed(seed, 0))), 0, 0)

    def _next(self, position: _Position, seed: int) -> Any:
        for _ in range(2):
            for batch in position.iterator:
                if not hasattr(self, "shapes") or self._is_whole(batch):
                    position.step += 1
                    return batch
            position.epoch += 1
            position.iterator = iter(self._make(_epoch_seed(seed, position.epoch)))
        raise InvalidValueError(f"the data give no batch. {_HOW}")

    def _is_whole(self, batch: Any) -> bool:
        """Whether a batch is as long as the first one; the last of a pass often is not."""
        first = jax.tree.leaves(_as_arrays(batch))
        expected = jax.tree.leaves(self.shapes)
        return len(first) != len(expected) or all(
            leaf.ndim == 0 or leaf.shape[0] >= other.shape[0]
            for leaf, other in zip(first, expected, strict=True)
        )

    def _checked(self, batch: PyTree[np.ndarray]) -> PyTree[np.ndarray]:
        found = jax.tree.map(lambda leaf: leaf.shape, batch)
        expected = jax.tree.map(lambda leaf: leaf.shape, self.shapes)
        if found != expected:
            raise InvalidValueError(
                f"a batch of the data has the shapes {found}, the first one had {expected}; all "
                "batches need the same shapes."
            )
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), batch, self.shapes)

    def fetch(self, draw: Int[Array, " 2"]) -> PyTree[Array]:
        """Inside a compiled program: the batch of (seed, step)."""

        def host(draw: Any) -> PyTree[np.ndarray]:
            seed, step = (int(value) for value in np.asarray(draw))
            return self.batch(seed, step)

        return jax.pure_callback(host, self.shapes, draw, vmap_method="sequential")


def stream_draw(key: PRNGKeyArray, step: Int[Array, ""] | int) -> Int[Array, " 2"]:
    """(seed, step) of a stream: the seed follows from the run's key alone."""
    seed = jax.random.randint(key, (), 0, 2**31 - 1, jnp.int32)
    return jnp.stack([seed, jnp.asarray(step, jnp.int32)])


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0] >> 1)


def _as_arrays(batch: Any) -> PyTree[np.ndarray]:
    """NumPy arrays from what data loaders give: tensors of PyTorch, arrays, numbers."""
    return jax.tree.map(
        lambda leaf: np.asarray(leaf.numpy() if hasattr(leaf, "numpy") else leaf), batch
    )


def as_stream(data: Any, batch_size: int | None) -> Stream:
    """A stream from what a person gives as their data.

    Args:
        data: a `Stream`; a function of a seed that returns an iterator; a PyTorch `DataLoader`
            (its sampler is seeded for every pass); a Hugging Face dataset or a `MapDataset` of
            Grain (shuffled by the seed and cut into batches); or anything else that can be
            iterated again and again, which is taken in its own order.
        batch_size: of a Hugging Face dataset, or of Grain's where it is one of examples.

    Raises:
        InvalidValueError: an iterator that can be used up only once, or no data at all.
    """
    if isinstance(data, Stream):
        return data
    if hasattr(data, "__next__"):
        raise InvalidValueError(
            f"the data are an iterator ({type(data).__name__}), which gives its batches once and "
            f"to one run only, so that runs cannot be paired or resumed. {_HOW}"
        )
    if hasattr(data, "dataset") and hasattr(data, "sampler"):
        return Stream(lambda seed: _seeded_loader(data, seed))
    if hasattr(data, "shuffle") and hasattr(data, "with_format") and hasattr(data, "iter"):
        if batch_size is None:
            raise InvalidValueError("a Hugging Face dataset needs batch_size.")
        return Stream(
            lambda seed: data.with_format("numpy").shuffle(seed=seed).iter(batch_size, True)
        )
    if all(hasattr(data, name) for name in ("shuffle", "batch", "to_iter_dataset")):
        # A MapDataset of Grain, of examples or, where no batch_size is given, of batches.
        def shuffled(seed: int) -> Any:
            found = data.shuffle(seed=seed)
            whole = found if batch_size is None else found.batch(batch_size, drop_remainder=True)
            return whole.to_iter_dataset()

        return Stream(shuffled)
    if callable(data) and "seed" in inspect.signature(data).parameters:
        return Stream(cast(Make, data))
    if isinstance(data, Iterable):
        return Stream(lambda _: data)
    raise InvalidValueError(f"the data are a {type(data).__name__}. {_HOW}")


def _seeded_loader(loader: Any, seed: int) -> Iterator[Any]:
    """One pass over a PyTorch DataLoader, in the order that the seed gives."""
    import torch

    # Streams of one loader read in threads of their own, and a generator is looked up when the
    # first batch is asked for: until then no other pass may begin.
    with _SEEDING:
        # The loader draws the seeds of its workers from one generator, its sampler the order from
        # another.
        for part in (loader, loader.sampler):
            if hasattr(part, "generator"):
                part.generator = torch.Generator().manual_seed(seed)
        iterator = iter(loader)
        first = list(itertools.islice(iterator, 1))
    return itertools.chain(first, iterator)
