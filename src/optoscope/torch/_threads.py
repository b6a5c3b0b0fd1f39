"""Independent pieces of a step on the cores of a machine."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Piece = TypeVar("_Piece")


def run_each(function: Callable[[_Piece], None], pieces: Iterable[_Piece]) -> None:
    """Calls a function with every piece, on as many threads as PyTorch uses for one operation.

    A step is many short operations. If each of them were spread over all cores, they would wait
    for each other at its end; where something else runs on the machine, some ten times as long as
    they work. PyTorch's operations let other threads of Python go on meanwhile.
    """
    count = torch.get_num_threads()
    # The threads inherit this: otherwise each would start threads of its own.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            for _ in pool.map(torch.no_grad()(function), pieces):
                pass
    finally:
        torch.set_num_threads(count)
