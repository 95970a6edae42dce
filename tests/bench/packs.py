"""Loads packs of float weights into torch: the twin's transformer, transformers' T5, diffusers' autoencoder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))

from twin import TransformerConfig, UniRealTransformer  # noqa: E402


def read_config(pack: Path, component: str = "transformer") -> dict:
    return json.loads((pack / component / "config.json").read_text())


def read_weights(pack: Path, component: str) -> dict[str, Tensor]:
    """Returns all tensors of a component in f32."""
    weights: dict[str, Tensor] = {}
    for path in sorted((pack / component).glob("*.safetensors")):
        weights |= load_file(path)
    return {name: value.float() for name, value in weights.items()}


def twin_of(config: dict) -> UniRealTransformer:
    """Returns a twin of this shape with random weights."""
    fields = {name: config[name] for name in TransformerConfig.__dataclass_fields__}
    return UniRealTransformer(TransformerConfig(**fields | {"axes_dims": tuple(fields["axes_dims"])}))


def transformer(pack: Path) -> tuple[dict, UniRealTransformer]:
    """Returns the configuration of the pack's transformer and the transformer."""
    config = read_config(pack)
    model = twin_of(config)
    model.load_state_dict(read_weights(pack, "transformer"))
    return config, model
