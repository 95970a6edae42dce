"""Writes `backbones/`: reduced CLIP, DINO and DINOv2 in their published layouts, with the features of images and captions that
the public code computes; and `preprocess.safetensors`, fifty images of odd sizes preprocessed by Pillow, torchvision and torch.

    python tests/golden/reference_backbones.py

Weights are random from fixed seeds. CLIP comes from transformers and from open_clip, which has openai's names; DINO from
transformers' ViT and from timm, which has the hub's names; DINOv2 from transformers and timm.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import open_clip
import PIL
import timm
import torch
import torchvision
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as transforms

from fixture import FOLDER, randomise, write
from images import SIZES, image as test_image

LIMIT = 300_000
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAPTIONS = [
    "a red cube beside a blue sphere",
    "A  photo of\ta CAT, isn't it?",
    "3 trains at a station in 2024 - naïve café ☕",
    "a very long caption that goes on and on and on about a red cube and a blue sphere and a green cone on a table",
    "",
]
TEST_IMAGES = [(0, 45, 70), (1, 131, 64), (2, 32, 32), (3, 300, 211)]
"""Numbers and sizes of the images whose features are stored."""


# Preprocessing ------------------------------------------------------------------------------------------------------


def resized(image: PIL.Image.Image, side: int, kind: str) -> Tensor:
    """Returns pixels `[3, side, side]` in 0..1, before normalisation."""
    if kind == "square":
        whole = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return functional.interpolate(whole[None], size=(side, side), mode="bicubic", align_corners=False)[0]
    larger = side if kind == "open-ai-clip" else round(side * 256 / 224)
    steps = [transforms.Resize(larger, interpolation=InterpolationMode.BICUBIC), transforms.CenterCrop(side)]
    cut = transforms.Compose(steps)(image)
    return torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255


def inputs(side: int, kind: str) -> Tensor:
    """Returns the test images in the form that a backbone reads."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET if kind == "dino" else CLIP))
    return torch.stack([(resized(test_image(*which), side, kind) - mean) / deviation for which in TEST_IMAGES])


def preprocessing() -> None:
    """Writes hashes of Pillow's results and samples of torch's results."""
    hashes: dict[str, list[str]] = {"open-ai-clip": [], "dino": []}
    squares = []
    for number, (width, height) in enumerate(SIZES):
        image = test_image(number, width, height)
        for kind, known in hashes.items():
            pixels = (resized(image, 224, kind) * 255).round().to(torch.uint8)
            known.append(hashlib.sha256(pixels.permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest())
        squares.append(resized(image, 224, "square").permute(1, 2, 0).flatten()[::997])
    metadata = {
        "sizes": SIZES,
        "hashes": hashes,
        "notes": "of picture i, pattern(i, *sizes[i]) in images.py: SHA-256 of [224, 224, 3] bytes; every 997th number in 0..1",
        "made_by": f"Pillow {PIL.__version__}, torchvision {torchvision.__version__}, torch {torch.__version__}",
    }
    write("preprocess.safetensors", {"square": torch.stack(squares)}, metadata)


# Backbones ----------------------------------------------------------------------------------------------------------


def publish(name: str, state: dict[str, Tensor], config: str, features: dict[str, Tensor]) -> None:
    """Writes the folder of a backbone; `state` has the weights under their published names."""
    write(f"backbones/{name}/model.safetensors", {key: value.half() for key, value in state.items()}, {"format": "pt"}, LIMIT)
    write(f"backbones/{name}/expected.safetensors", features, {"pictures": TEST_IMAGES, "captions": CAPTIONS})
    (FOLDER / "backbones" / name / "config.json").write_text(config)


def ready(model: nn.Module, seed: int) -> nn.Module:
    """Sets random weights that f16 represents exactly."""
    randomise(model, seed)
    return model.half().float().eval()


def published(model: transformers.PreTrainedModel, folder: str) -> dict[str, Tensor]:
    """Returns the weights under the names of `save_pretrained`, which differ from the names in memory for some networks."""
    from safetensors.torch import load_file

    model.save_pretrained(folder)
    return load_file(f"{folder}/model.safetensors")


def tokenizer() -> tuple[transformers.CLIPTokenizer, int]:
    """Returns CLIP's tokenizer with a small vocabulary, and the size of that vocabulary."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    learner.train_from_iterator(CAPTIONS, trainers.BpeTrainer(vocab_size=110, end_of_word_suffix="</w>", show_progress=False))
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = letters + [f"{letter}</w>" for letter in letters] + ["".join(pair) for pair in merges]
    words = list(dict.fromkeys(words)) + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges), len(words)


@torch.no_grad()
def clip() -> None:
    """Writes CLIP for transformers and for open_clip with the same captions; open_clip reads the features at the largest id, the end token's."""
    words, size = tokenizer()
    length = 14
    read = words(CAPTIONS, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    end = words.eos_token_id
    text = {"vocab_size": size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 1,
            "max_position_embeddings": length, "eos_token_id": end, "bos_token_id": end - 1, "pad_token_id": end}
    vision = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
              "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    model = ready(transformers.CLIPModel(config), 60)
    images = {kind: inputs(32, kind) for kind in ("open-ai-clip", "square")}
    features = {
        kind: model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output) for kind, pixels in images.items()
    }
    features["texts"] = model.text_projection(model.text_model(**read).pooler_output)
    publish("clip", published(model, "/tmp/unireal-reference"), config.to_json_string(), features)
    words.save_pretrained(FOLDER / "backbones" / "clip")

    original = open_clip.model.CLIP(
        embed_dim=24,
        vision_cfg=open_clip.CLIPVisionCfg(layers=2, width=32, head_width=32, patch_size=8, image_size=32),
        text_cfg=open_clip.CLIPTextCfg(context_length=length, vocab_size=size, width=32, heads=1, layers=2),
        quick_gelu=True,
    )
    original = ready(original, 61)
    features = {kind: original.encode_image(pixels) for kind, pixels in images.items()}
    features["texts"] = original.encode_text(read["input_ids"])
    text |= {"intermediate_size": 128}
    vision |= {"hidden_size": 32, "num_attention_heads": 1, "intermediate_size": 128}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    publish("clip-original", original.state_dict(), config.to_json_string(), features)
    words.save_pretrained(FOLDER / "backbones" / "clip-original")
    for name in ("clip", "clip-original"):
        (FOLDER / "backbones" / name / "tokenizer_config.json").unlink()


@torch.no_grad()
def dino() -> None:
    """Writes DINO in the layouts of transformers and timm, of equal shape."""
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
             "patch_size": 8, "layer_norm_eps": 1e-6}
    config = transformers.ViTConfig(**shape)
    model = ready(transformers.ViTModel(config), 62)
    features = {"dino": model(pixel_values=inputs(32, "dino")).last_hidden_state[:, 0]}
    publish("dino", published(model, "/tmp/unireal-reference"), config.to_json_string(), features)

    hub = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 1, "num_classes": 0}
    original = ready(timm.models.vision_transformer.VisionTransformer(**hub), 63)
    features = {"dino": original.forward_features(inputs(32, "dino"))[:, 0]}
    publish("dino-original", original.state_dict(), config.to_json_string(), features)


@torch.no_grad()
def dinov2() -> None:
    """Writes DINOv2: transformers' layout with positions for images larger than the protocols' ones, timm's with its own positions."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1, "image_size": 280, "patch_size": 14, "mlp_ratio": 2}
    config = transformers.Dinov2Config(**shape)
    model = ready(transformers.Dinov2Model(config), 64)
    features = {"dino": model(pixel_values=inputs(224, "dino")).last_hidden_state[:, 0]}
    publish("dinov2", published(model, "/tmp/unireal-reference"), config.to_json_string(), features)

    hub = {"img_size": 56, "patch_size": 14, "embed_dim": 32, "depth": 2, "num_heads": 1, "mlp_ratio": 2, "num_classes": 0}
    original = ready(timm.models.vision_transformer.VisionTransformer(**hub, init_values=1.0), 65)
    features = {"dino": original.forward_features(inputs(56, "dino"))[:, 0]}
    config = transformers.Dinov2Config(**shape | {"image_size": 56})
    publish("dinov2-original", original.state_dict(), config.to_json_string(), features)


if __name__ == "__main__":
    preprocessing()
    clip()
    dino()
    dinov2()
