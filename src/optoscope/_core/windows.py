"""The parts of a run that its losses are averaged over."""


def tenth(num_steps: int) -> int:
    """The steps in a tenth of a run, at least one; final losses are means over the last such part.

    Example:
        >>> tenth(2000), tenth(25), tenth(3)
        (200, 2, 1)
    """
    return max(1, num_steps // 10)
