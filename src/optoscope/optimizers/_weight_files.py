"""Named arrays from others' weight files. Nothing in a file is executed."""

import io
import math
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from optoscope._core import arrays as numpy_archives
from optoscope._core.errors import FileFormatError
from optoscope._core.files import read_bytes
from optoscope._core.tensors import from_safetensors

# The largest network here has 37,089 numbers, which are 150 kB.
_MOST_BYTES = 16_000_000
_MOST_ARRAYS = 10_000
_MOST_DEPTH = 32
_FLAX_ARRAY = 1
_TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint32", "bool")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a weight file by name; names inside others are joined by "/".

    NumPy's npz, PyTorch's zip files, safetensors and Flax's msgpack are told apart by their
    first bytes, not by the name of the file.

    Raises:
        FileFormatError: it does not exist, is damaged, too large, of another format, or could
            only be read by executing what is in it.
    """
    content = read_bytes(path, most=_MOST_BYTES, error=FileFormatError)
    if content[:4] == b"PK\3\4":
        return _from_zip(content, path)
    if content[8:9] == b"{":
        return from_safetensors(content, path)
    # A map, as which Flax writes every tree with names.
    if content and (0x80 <= content[0] <= 0x8F or content[0] in (0xDE, 0xDF)):
        if content[:1] == b"\x80" and content[1:2] in b"\2\3\4\5" and len(content) > 1:
            raise FileFormatError(
                f"{path} is a pickle, which is a program and is not executed. Convert it where "
                "you trust it: load it there, and write its arrays with numpy.savez."
            )
        return _from_flax(content, path)
    raise FileFormatError(
        f"{path} is no weight file that is read here: neither NumPy's npz, nor safetensors, nor "
        "Flax's msgpack, nor a PyTorch zip file."
    )


def _from_zip(content: bytes, path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except Exception as error:  # damage shows up as errors of many types
        raise FileFormatError(f"{path} cannot be read as a zip file: {_short(error)}.") from None
    if not any(member.filename.endswith("/data.pkl") for member in members):
        return numpy_archives.read_arrays(path, FileFormatError)
    if sum(member.file_size for member in members) > _MOST_BYTES:
        raise FileFormatError(f"{path} would take more than {_MOST_BYTES:,} bytes.")
    return _from_torch(content, path)


def _from_torch(content: bytes, path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        raise FileFormatError(
            f"{path} is a PyTorch file, and PyTorch is not installed. Install optoscope[torch], "
            "or convert the file to safetensors where it is."
        ) from None
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever it refuses or trips over
        raise FileFormatError(
            f"{path} cannot be read as PyTorch's weights (weights_only=True): {_short(error)}."
        ) from None
    arrays = {}
    for name, value in _flattened(found, path):
        if not isinstance(value, torch.Tensor):
            raise FileFormatError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor.")
        is_half = value.dtype == torch.bfloat16
        arrays[name] = (value.float() if is_half else value).detach().numpy()
    return arrays


def _from_flax(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """Arrays of `flax.serialization`: extension type 1 is a msgpack of (shape, type, bytes)."""
    import msgpack

    def array(code: int, data: bytes) -> np.ndarray:
        if code != _FLAX_ARRAY:
            raise FileFormatError(f"it has an extension of type {code}, which is not an array")
        shape, kind, values = msgpack.unpackb(data)
        return _array(shape, kind, values)

    try:
        found = msgpack.unpackb(content, ext_hook=array, max_map_len=_MOST_ARRAYS)
    except Exception as error:  # of damage: errors of many types
        raise FileFormatError(
            f"{path} cannot be read as Flax's msgpack: {_short(error)}."
        ) from None
    arrays = {}
    for name, value in _flattened(found, path):
        if not isinstance(value, np.ndarray):
            raise FileFormatError(f"{path}: {name!r} is a {type(value).__name__}, not an array.")
        arrays[name] = value
    return arrays


def _array(shape: Any, kind: Any, values: Any) -> np.ndarray:
    import ml_dtypes

    sound = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
    if not sound or kind not in _TYPES or not isinstance(values, bytes):
        raise FileFormatError("what should be an array is none, or has an unknown type")
    dtype = np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
    if math.prod(shape) * dtype.itemsize != len(values):
        raise FileFormatError(
            f"an array of shape {tuple(shape)} and type {kind} has {len(values):,} bytes"
        )
    return np.frombuffer(bytearray(values), dtype).reshape(shape)


def _flattened(tree: Any, path: Path, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The leaves of dictionaries and lists."""
    if depth > _MOST_DEPTH:
        raise FileFormatError(f"{path} has names inside names more than {_MOST_DEPTH} deep.")
    if isinstance(tree, dict):
        parts = tree.items()
    elif isinstance(tree, list):
        parts = enumerate(tree)
    else:
        yield name, tree
        return
    for key, value in parts:
        yield from _flattened(value, path, f"{name}/{key}" if name else str(key), depth + 1)


def _short(error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return textwrap.shorten(reason, 200, placeholder=" ...").rstrip(".")
