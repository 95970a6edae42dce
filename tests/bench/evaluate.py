"""Compares feature vectors of `unireal evaluate features` and torch at full shapes, with equal random weights and files.

    python evaluate.py UNIREAL speed ROUNDS      # images per second of CLIP ViT-B/32 and DINO ViT-S/16, in turns
    python evaluate.py UNIREAL parity            # largest differences of all five backbones

Times decoding, resizing, cropping, normalising and encoding, with loaded weights. Both use all cores and batches of 16. Prints lines
of JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as transforms

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
from fixture import randomise
from images import image as test_image

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BATCH = 16


def large() -> transformers.CLIPConfig:
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14}
    return transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=768)


def small(patch: int) -> transformers.ViTConfig:
    shape = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6}
    return transformers.ViTConfig(**shape, patch_size=patch, layer_norm_eps=1e-6)


BACKBONES = {
    "clip-b32": lambda: transformers.CLIPModel(transformers.CLIPConfig()),
    "clip-l14": lambda: transformers.CLIPModel(large()),
    "dino-s16": lambda: transformers.ViTModel(small(16)),
    "dino-s8": lambda: transformers.ViTModel(small(8)),
    "dinov2-small": lambda: transformers.Dinov2Model(
        transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    ),
}


def prepared(name: str) -> transforms.Compose:
    clip = name.startswith("clip")
    size = transforms.Resize(224 if clip else 256, interpolation=InterpolationMode.BICUBIC)
    to_float = [transforms.ToImage(), transforms.ToDtype(torch.float32, scale=True)]
    return transforms.Compose([size, transforms.CenterCrop(224), *to_float, transforms.Normalize(*(CLIP if clip else IMAGENET))])


@torch.inference_mode()
def theirs(model: nn.Module, name: str, files: list[Path]) -> tuple[Tensor, float]:
    """Computes the vectors with torch. Returns them and the seconds."""
    start, vectors, prepare = time.perf_counter(), [], prepared(name)
    for first in range(0, len(files), BATCH):
        pixels = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files[first : first + BATCH]])
        if name.startswith("clip"):
            vectors.append(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output))
        else:
            vectors.append(model(pixel_values=pixels).last_hidden_state[:, 0])
    return torch.cat(vectors), time.perf_counter() - start


def ours(unireal: str, name: str, weights: Path, images: Path) -> tuple[Tensor, float]:
    out = weights / "features.out"
    command = [unireal, "evaluate", "features", "--backbone", name, "--weights", weights, "--images", images, "--out", out]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return load_file(out)["images"], report["image_seconds"]


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def published(name: str, folder: Path) -> nn.Module:
    """Creates a network with random weights and saves it in a folder."""
    model = BACKBONES[name]()
    randomise(model, 7)
    with torch.no_grad():
        for parameter, value in model.named_parameters():
            # Scale residual branches so that activations do not overflow, and queries so that the softmax is not one-hot.
            if parameter.endswith(("out_proj.weight", "o_proj.weight", "fc2.weight")) or "q_proj.weight" in parameter:
                value *= 0.3
    model = model.eval()
    model.save_pretrained(folder)
    return model


def main() -> None:
    unireal, what, *rest = sys.argv[1:]
    torch.set_num_threads(os.cpu_count())
    transformers.logging.set_verbosity_error()
    speed = what == "speed"
    for name in ("clip-b32", "dino-s16") if speed else BACKBONES:
        with tempfile.TemporaryDirectory() as folder:
            weights, images = Path(folder, "weights"), Path(folder, "images")
            images.mkdir()
            for number in range(96 if speed else 4):
                size = (512, 512) if speed else (301 + 40 * number, 255)
                test_image(2 * number, *size).save(images / f"{number:03}.png")
            model, files = published(name, weights), sorted(images.iterdir())
            if not speed:
                (vectors, _), (expected, _) = ours(unireal, name, weights, images), theirs(model, name, files)
                scale = expected.abs().max().item()
                print(json.dumps({"backbone": name, "difference": difference(vectors, expected), "largest": scale}), flush=True)
                continue
            theirs(model, name, files[:BATCH])
            rounds = [(ours(unireal, name, weights, images), theirs(model, name, files)) for _ in range(int(rest[0]))]
            assert difference(rounds[0][0][0], rounds[0][1][0]) < 1e-3
            mine, other = (statistics.median(pair[i][1] for pair in rounds) * 1e3 / len(files) for i in (0, 1))
            row = {"what": f"features of {name}, an image", "against": "torch", "ours_ms": mine, "theirs_ms": other}
            print(json.dumps(row | {"ratio": other / mine}), flush=True)


if __name__ == "__main__":
    main()
