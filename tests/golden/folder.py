"""Writes a model folder with golden values: what the make_*.py scripts beside this file share."""
import json
import os
import struct

import numpy as np

WANT = ("output", "logits", "probs", "h_n", "c_n")


def numbers(a):
    """Floats as float32 with nine digits, in lists as deep as `a`."""
    if np.ndim(a) == 0:
        return float("%.9g" % np.float32(a))
    return [numbers(v) for v in a]


def write_safetensors(path, tensors):
    header, end = {}, 0
    for name, a in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [end, end + a.nbytes]}
        end += a.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(a.tobytes())


def write_json(path, value, indent=None):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=indent)
        f.write("\n")


def write(folder, config, tensors, runs, made_with):
    """config: all but schema, dtype and tensors.  tensors: name → float32 array."""
    os.makedirs(folder, exist_ok=True)
    config = {"schema": "rnnd-ref-1", **config, "dtype": "F32",
              "tensors": {k: list(v.shape) for k, v in tensors.items()}}
    golden = {"schema": "rnnd-golden-1", "case": os.path.basename(folder), "made_with": made_with,
              "suggested_atol": {kind: 1e-5 for kind in WANT}, "runs": runs}
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    write_json(os.path.join(folder, "config.json"), config, 1)
    write_json(os.path.join(folder, "golden.json"), golden)
