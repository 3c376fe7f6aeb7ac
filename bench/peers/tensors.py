"""Files of named arrays in the safetensors format."""

import json
import pathlib
import struct

import numpy as np

Arrays = dict[str, np.ndarray]

DTYPES = {"F32": np.float32, "I32": np.int32, "I64": np.int64}


def read(path: pathlib.Path) -> Arrays:
    """Each array is read by itself, so that nothing but the arrays takes memory."""
    arrays = {}
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            array = np.empty(entry["shape"], DTYPES[entry["dtype"]])
            if file.readinto(memoryview(array.reshape(-1)).cast("B")) != end - begin:
                raise ValueError(f"{path}: '{name}' is cut short")
            arrays[name] = array
    return arrays


def write(path: pathlib.Path, arrays: Arrays) -> None:
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    header, offset = {}, 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())
