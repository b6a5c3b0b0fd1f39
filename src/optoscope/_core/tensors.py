"""Named arrays as safetensors, written correctly from any memory order or byte order."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from optoscope._core.errors import FileFormatError

# By the format's own names. NumPy has no bfloat16 of its own; JAX brings one along.
_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def native(array: np.ndarray) -> np.ndarray:
    """The array in C order and in this machine's byte order."""
    # Not `ascontiguousarray`, which gives a scalar a dimension.
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def to_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a safetensors file.

    Args:
        arrays: in any order in memory (Fortran's, slices) and of any byte order.

    Raises:
        FileFormatError: an array of another type than floats up to 64 bits, bfloat16, integers
            or booleans.
    """
    from safetensors.numpy import save

    for name, array in arrays.items():
        if array.dtype.name not in _NAMES.values():
            raise FileFormatError(
                f"{name} has type {array.dtype}, which is not written; "
                f"convert it to one of {', '.join(_NAMES.values())}."
            )
    # safetensors writes the memory as it is, so another order would change the values.
    return save({name: native(array) for name, array in arrays.items()})


def from_safetensors(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, in the types that they have there.

    Args:
        content: of the file.
        path: where it came from, for messages.

    Raises:
        FileFormatError: it is no safetensors file, is damaged, or has types that we never write.
    """
    import ml_dtypes
    from safetensors import deserialize

    try:
        # Checks that header, shapes, types and the number of bytes agree; takes no more memory
        # than the content has.
        found = deserialize(content)
    except Exception as error:  # an error of a type of its own
        raise FileFormatError(f"{path} cannot be read as safetensors: {error}.") from None
    arrays = {}
    for name, tensor in found:
        kind = _NAMES.get(tensor["dtype"])
        if kind is None:
            raise FileFormatError(f"{path}: {name} has type {tensor['dtype']}, which is not read.")
        dtype = np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
        array = np.frombuffer(bytearray(tensor["data"]), dtype.newbyteorder("<"))
        try:
            arrays[name] = native(array.reshape(tensor["shape"]))
        except ValueError:  # nothing in it, and yet sides beyond what NumPy can count
            raise FileFormatError(f"{path}: {name} has the shape {tensor['shape']}.") from None
    return arrays
