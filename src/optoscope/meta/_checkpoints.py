"""Exact resume: everything the next meta-step needs, verified when it is read back."""

import logging
import re
import shutil
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from optoscope._core.errors import RunDirectoryError
from optoscope._core.keys import key_numbers, with_numbers
from optoscope._core.processes import is_first, wait_for_all, whole
from optoscope._core.tensors import native
from optoscope._core.trees import digest, num_bytes
from optoscope.meta._event_loops import finishing_event_loops

# Orbax' own files and the blocks they are rounded up to.
_OVERHEAD_BYTES = 200_000
# How much larger a checkpoint can be than this run's arrays: twice for their precision, and again
# for how they are stored; with what there is to say of each.
_WIDEST = 4
_BYTES_AN_ARRAY = 20_000

Tree = TypeVar("Tree", bound=PyTree)


class Checkpoints:
    """Orbax checkpoints of a pytree of arrays, newest first, each with a digest of its content.

    A checkpoint that was cut off or damaged is passed over with a warning and the one before is
    taken. Arrays are stored as they are in memory, so what is read back is bit-identical, on
    any number of devices and processes. Of several processes (`jax.distributed`) the first
    writes and all read: the directory must be one that all of them see.

    Args:
        directory: where the checkpoints are; made on the first save.
        keep: how many of the newest to keep.
    """

    def __init__(self, directory: Path, keep: int = 3):
        # Orbax and its storage take a second to import; only runs with a directory pay it.
        import orbax.checkpoint as orbax

        self._orbax = orbax
        self.directory = Path(directory).absolute()
        several = jax.process_count() > 1
        options = orbax.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, create=not several
        )
        if several:
            # Every process is alone with its manager: none may wait for the others inside Orbax.
            own = jax.process_index()
            options.multiprocessing_options = orbax.options.MultiprocessingOptions(
                primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}"
            )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with _quiet_orbax():
                self._manager = orbax.CheckpointManager(self.directory, options=options)
        except OSError as error:
            raise RunDirectoryError(f"cannot write checkpoints to {directory}: {error}.") from error

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def save(self, step: int, tree: PyTree, info: dict[str, Any]) -> None:
        """Writes a checkpoint; `info` is JSON. Of several processes all must call it.

        Raises:
            RunDirectoryError: the disk is full or not writable.
        """
        tree = whole(jax.tree.map(key_numbers, tree))
        if is_first():
            self._write(step, tree, info)
        wait_for_all(f"checkpoint {step}")

    def _write(self, step: int, tree: PyTree, info: dict[str, Any]) -> None:
        leaves = _stored_leaves(tree)
        self._check_space(step, num_bytes(leaves))
        args = self._orbax.args
        layout = _layout(tree)
        info = info | {
            "digest": digest(leaves),
            "layout": layout,
            "layout_digest": digest(layout),
            "info_digest": digest(info),
        }
        try:
            with _quiet_orbax():
                self._manager.save(
                    step,
                    args=args.Composite(state=args.StandardSave(leaves), info=args.JsonSave(info)),
                    force=True,
                )
        except (OSError, ValueError) as error:
            for half_written in self.directory.glob(f"{step}.*tmp*"):
                shutil.rmtree(half_written, ignore_errors=True)
            raise RunDirectoryError(
                f"cannot write checkpoint {step} to {self.directory}: {_first_line(error)}. "
                "The checkpoints before it are untouched: free some space and resume."
            ) from error

    def _check_space(self, step: int, size: int) -> None:
        # Asked first: Orbax' writer threads print tracebacks of their own when the disk fills up.
        needed = 2 * size + _OVERHEAD_BYTES
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise RunDirectoryError(
                f"cannot write checkpoint {step} to {self.directory}: {free / 1e6:.1f} MB are free "
                f"there, it may need {needed / 1e6:.1f} MB. The checkpoints before it are "
                "untouched: free some space and resume."
            )

    def restore(self, like: Tree) -> tuple[int, Tree, dict[str, Any]] | None:
        """The newest intact checkpoint as (step, tree, info), or None where there is none.

        Args:
            like: a pytree of the structure, shapes and types that were saved.

        Raises:
            RunDirectoryError: there are checkpoints, but not one is intact, or the newest is of a
                run with other arrays or in another precision.
        """
        steps = self.steps()
        given, like = like, whole(jax.tree.map(key_numbers, like))
        for step in steps:
            try:
                with _quiet_orbax(), finishing_event_loops():
                    tree, info = self._read(step, like)
            except RunDirectoryError:
                raise
            except Exception as error:  # whatever a damaged file makes the readers raise
                warnings.warn(
                    f"checkpoint {step} in {self.directory} is damaged ({_first_line(error)}); "
                    "it is passed over.",
                    stacklevel=2,
                )
                continue
            self._drop_newer(step)
            return step, jax.tree.map(with_numbers, given, tree), info
        if steps:
            raise RunDirectoryError(
                f"none of the checkpoints {steps} in {self.directory} is intact; start anew."
            )
        return None

    def _read(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        args = self._orbax.args
        wanted = _stored_leaves(like)
        # Orbax would wait for a pipe for ever, and read a file with a hole whole.
        most = _WIDEST * num_bytes(wanted) + _BYTES_AN_ARRAY * len(wanted) + _OVERHEAD_BYTES
        _check_files(self.directory / str(step), most)
        items = self._manager.restore(step, args=args.Composite(info=args.JsonRestore()))
        info = dict(items["info"])
        self._check_layout(step, info.pop("layout", None), info.pop("layout_digest", None), like)
        digests = info.pop("digest", None), info.pop("info_digest", None)
        # Checkpoints from before it was kept have none.
        if digests[1] is not None and digest(info) != digests[1]:
            raise ValueError("its information does not match its digest")
        restored = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(wanted))
        )
        leaves = restored["state"]
        for name, leaf in wanted.items():
            if leaves[name].shape != leaf.shape or leaves[name].dtype != leaf.dtype:
                raise ValueError(f"array {name} has another shape or type than this run's")
        if digest(leaves) != digests[0]:
            raise ValueError("its content does not match its digest")
        flat, structure = jax.tree.flatten(like)
        values = [
            jnp.asarray(leaves[str(index)]) if str(index) in leaves else jnp.asarray(leaf)
            for index, leaf in enumerate(flat)
        ]
        return jax.tree.unflatten(structure, values), info

    def _check_layout(self, step: int, layout: Any, layout_digest: Any, like: PyTree) -> None:
        # Another run's checkpoint is not damaged, and must not be thrown away as if it were.
        wanted = _layout(like)
        if layout == wanted or layout is None or layout_digest != digest(layout):
            return
        if _without_precision(layout) == _without_precision(wanted):
            flag = int(any("64[" in one for one in set(layout) - set(wanted)))
            raise RunDirectoryError(
                f"checkpoint {step} in {self.directory} is of a run with JAX_ENABLE_X64={flag}, "
                f"and the results of this process would be others. Set JAX_ENABLE_X64={flag} in "
                "its environment, and resume."
            )
        differing = [
            f"array {index} is {saved}, this run's is {own}"
            for index, (saved, own) in enumerate(zip(layout, wanted, strict=False))
            if saved != own
        ]
        sizes = f"it holds {len(layout)} arrays, this run {len(wanted)}"
        raise RunDirectoryError(
            f"checkpoint {step} in {self.directory} is of a run with another optimizer, task, "
            "number of tasks or meta-optimizer, or of a version that arranged states otherwise "
            f"({differing[0] if differing else sizes}). Resume with the settings and the version "
            "it was started with, or choose another directory."
        )

    def _drop_newer(self, step: int) -> None:
        # A damaged newer checkpoint would be in the way when the run arrives there again.
        for newer in self.steps():
            if newer > step:
                shutil.rmtree(self.directory / str(newer), ignore_errors=True)
        self._manager.reload()


def _stored_leaves(tree: PyTree) -> dict[str, np.ndarray]:
    # Orbax refuses empty arrays; they carry nothing but their shape, which `like` knows.
    return {
        str(index): native(np.asarray(leaf))
        for index, leaf in enumerate(jax.tree.leaves(tree))
        if np.size(leaf)
    }


def _layout(tree: PyTree) -> list[str]:
    return [
        f"{np.asarray(leaf).dtype}[{','.join(map(str, np.shape(leaf)))}]"
        for leaf in jax.tree.leaves(tree)
    ]


def _without_precision(layout: list[str]) -> list[str]:
    """The layout with 64 bits called 32, which is all that the flag of JAX changes."""
    return [re.sub(r"^(float|u?int|complex)(128|64)\b", _halved, str(one)) for one in layout]


def _halved(found: re.Match[str]) -> str:
    halves = {"complex128": "complex64", "complex64": "complex64"}
    return halves.get(found[0], f"{found[1]}32")


def _check_files(folder: Path, most: int) -> None:
    """Raises ValueError unless everything in the folder is a folder or a file of likely size."""
    total = 0
    for path in folder.rglob("*"):
        status = path.lstat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ValueError(f"{path.name} is no file")
        total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    if total > most:
        raise ValueError(f"it has {total:,} bytes, more than its arrays can take")


@contextmanager
def _quiet_orbax() -> Iterator[None]:
    # Orbax logs the whole traceback of what it then raises; the caller gives one message.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if "No space left on device" in text:
        return "no space left on the device"
    return text.splitlines()[0][:200]
