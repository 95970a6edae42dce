"""Implements the pack's encodings in numpy, for reading packs in Python and as a reference for the Rust code.

    python tests/golden/quant.py                  writes quant.safetensors, which tests/golden.rs reads
    python tests/golden/quant.py PACK [CHECKPOINT]    dequantises every matrix of a pack and, with the checkpoint that it
                                                  was made from, prints the largest error
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

BLOCK = 32
# Quantised value of the element of largest magnitude in a block, and the range of quantised values.
FURTHEST = {"q8": 127, "q4": -8}
STEPS = {"q8": (-127, 127), "q4": (-8, 7)}


def quantise(weights: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    """Quantises `[out, in]` floats to packed integers `[out, in / 4 or in / 8]` and f16 scales `[out, in / 32]`."""
    rows, columns = weights.shape
    blocks = weights.reshape(rows, columns // BLOCK, BLOCK).astype(np.float32)
    # In q4 the scale has the sign of the element of largest magnitude, so that this element becomes -8.
    furthest = np.abs(blocks).argmax(axis=-1)[..., None]
    peak = np.take_along_axis(blocks, furthest, axis=-1)[..., 0]
    peak = np.abs(peak) if encoding == "q8" else peak
    scales = (peak / np.float32(FURTHEST[encoding])).astype(np.float16)
    divisor = scales.astype(np.float32)
    inverse = np.where(divisor == 0, 0, np.float32(1) / np.where(divisor == 0, 1, divisor))
    scaled = blocks * inverse[..., None].astype(np.float32)
    steps = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    steps = np.clip(steps, *STEPS[encoding]).astype(np.int64)
    per_integer, bits, offset = (4, 8, 0) if encoding == "q8" else (8, 4, 8)
    fields = (steps + offset).reshape(rows, columns // per_integer, per_integer) & (2**bits - 1)
    shifts = bits * np.arange(per_integer)
    return (fields << shifts).sum(axis=-1).astype(np.uint32), scales


def dequantise(packed: np.ndarray, scales: np.ndarray, encoding: str) -> np.ndarray:
    """Dequantises packed integers and scales to `[out, in]` f32 values."""
    per_integer, bits = (4, 8) if encoding == "q8" else (8, 4)
    fields = (packed[..., None] >> (bits * np.arange(per_integer, dtype=np.uint32))) & (2**bits - 1)
    fields = fields.reshape(packed.shape[0], -1).astype(np.int32)
    steps = np.where(fields > 127, fields - 256, fields) if encoding == "q8" else fields - 8
    return steps.astype(np.float32) * np.repeat(scales.astype(np.float32), BLOCK, axis=1)


def component(folder: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the encoding and the tensors of a component of a pack; the rows of split tensors are joined."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    tensors: dict[str, np.ndarray] = {}
    for shard in index["metadata"]["shards"]:
        tensors.update(load_file(folder / shard))
    split: dict[str, dict[int, np.ndarray]] = {}
    for name in [name for name in tensors if ".rows." in name]:
        whole, first = name.rsplit(".rows.", 1)
        split.setdefault(whole, {})[int(first)] = tensors.pop(name)
    for name, parts in split.items():
        tensors[name] = np.concatenate([parts[first] for first in sorted(parts)])
    return index["metadata"]["encoding"], tensors


def check(pack: Path, checkpoint: Path | None) -> None:
    for folder in sorted(path.parent for path in pack.glob("*/model.safetensors.index.json")):
        encoding, tensors = component(folder)
        packed = [name for name in tensors if name.endswith(".packed")]
        worst = 0.0
        original: dict[str, np.ndarray] = {}
        if checkpoint:
            for file in (checkpoint / folder.name).glob("*.safetensors"):
                original.update(load_file(file))
        for name in packed:
            weight = name.removesuffix(".packed")
            scales = tensors[f"{weight}.scales"]
            values = dequantise(tensors[name], scales, encoding)
            if original:
                off = np.abs(values - original[weight].astype(np.float32))
                # The resolution is one step of the block's scale; rounding errors are about half a step.
                step = np.repeat(scales.astype(np.float32), BLOCK, axis=1)
                worst = max(worst, float((off / np.maximum(step, 1e-12)).max()))
        line = f"{folder.name}: {encoding}, {len(tensors)} tensors, {len(packed)} quantised matrices"
        if original and packed:
            assert worst <= 0.57, f"{folder.name}: values are {worst} steps from the original"
            line += f", at most {worst:.3f} steps from the original"
        print(line)


def fixture() -> None:
    generator = np.random.default_rng(11)
    tensors = {}
    for encoding in FURTHEST:
        weights = generator.normal(0, 0.7, (6, 3 * 2 * BLOCK)).astype(np.float32)
        weights[1, :BLOCK] = 0
        weights[2] *= 1e-6
        weights[3] *= 300
        packed, scales = quantise(weights, encoding)
        tensors |= {
            f"{encoding}.weight": weights,
            f"{encoding}.packed": packed,
            f"{encoding}.scales": scales,
            f"{encoding}.values": dequantise(packed, scales, encoding),
        }
    save_file(tensors, Path(__file__).with_name("quant.safetensors"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        check(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    else:
        fixture()
