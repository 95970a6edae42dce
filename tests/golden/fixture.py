"""Stores fixtures and draws their weights."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

FOLDER = Path(__file__).parent
LIMIT = 100_000
"""Maximum size of a fixture in bytes, because fixtures are in git."""


def sorted_metadata(data: bytes) -> bytes:
    """Sorts the metadata of a safetensors file, which the library writes in a random order, so that equal files have equal bytes."""
    start = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[start:]


def write(name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, object], limit: int = LIMIT) -> None:
    """Saves a fixture; metadata values that are not text become JSON."""
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    data = save({key: value.detach().contiguous() for key, value in tensors.items()}, metadata=text)
    data = sorted_metadata(data)
    if len(data) >= limit:
        sys.exit(f"{name} is {len(data)} bytes; it must stay below {limit}")
    (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_bytes(data)
    print(f"{name}: {len(data)} bytes, {len(tensors)} tensors")


def randomise(module: nn.Module, seed: int) -> None:
    """Draws every parameter: matrices preserve the variance of their input, norms are about 1, biases are not zero."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name in embeddings:
                parameter.copy_(noise)
            elif parameter.dim() >= 2:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            elif name.endswith(".weight"):
                parameter.copy_(1 + 0.3 * noise)
            else:
                parameter.copy_(0.3 * noise)


def weights(module: nn.Module) -> dict[str, Tensor]:
    """Returns the module's state dict under `weights.`."""
    return {f"weights.{name}": value.clone() for name, value in module.state_dict().items()}
