"""Networks on random images: the time of a step does not depend on what is in the images."""

import jax

from optoscope import tasks
from optoscope.data import Dataset, Split


def random_images(num_inputs: int) -> Dataset:
    """Square images of so many pixels, more of them than fit any cache at MNIST's size."""
    key = jax.random.key(0)
    side = round(num_inputs**0.5)
    split = Split(
        jax.random.uniform(key, (10_000, side, side, 1)),
        jax.random.randint(key, (10_000,), 0, 10),
    )
    return Dataset(train=split, validation=split, test=split, name="random", num_classes=10)


def network(num_inputs: int, hidden: tuple[int, ...], batch_size: int) -> tasks.Classification:
    """A ReLU network with ten outputs on such images."""
    return tasks.mlp_classification(
        random_images(num_inputs), hidden=hidden, activation="relu", batch_size=batch_size
    )
