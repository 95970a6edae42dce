"""Writes metrics.json: the public evaluation codes' metrics of random images and vectors, by numpy, Pillow, torch and scikit-image.

What is computed here follows the descriptions of MagicBrush's image_eval.py (L1, L2, cosines), InstructPix2Pix's
clip_similarity.py (the direction of normalised vectors) and DreamBench (all pairs with the subject), written anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

FILE = Path(__file__).parent / "metrics.json"
CASES = 4
BENCHMARKS = ("emu-edit/ultraedit", "emu-edit/instruct-pix2pix", "magicbrush/all-turn", "dreambench", "dreambench++")
SIZE = (18, 22)
"""Height and width of the targets."""
WIDTH = 12
"""Length of the vectors; the arithmetic is the same as for 512."""


def smooth(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """Returns an image with structure, like a photograph, and some noise."""
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC), dtype=np.int64)
    return Image.fromarray(np.clip(image + rng.integers(-9, 10, image.shape), 0, 255).astype(np.uint8))


def unit(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).double() / 255


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1).item()


@dataclass
class Data:
    """Random images, vectors and captions by name, and the cases that use them."""

    images: dict[str, dict[str, object]] = field(default_factory=dict)
    clip: dict[str, torch.Tensor] = field(default_factory=dict)
    dino: dict[str, torch.Tensor] = field(default_factory=dict)
    captions: dict[str, torch.Tensor] = field(default_factory=dict)
    cases: list[dict[str, object]] = field(default_factory=list)

    def image(self, name: str) -> Image.Image:
        image = self.images[name]
        return Image.fromarray(np.array(image["rgb"], dtype=np.uint8).reshape(image["height"], image["width"], 3))


def random_data() -> Data:
    """Draws the images, vectors and cases."""
    rng = np.random.default_rng(6)
    data = Data()
    vector = lambda: torch.from_numpy(rng.normal(0.2, 1, WIDTH).astype(np.float32))  # noqa: E731

    def add(name: str, image: Image.Image) -> str:
        data.images[name] = {"width": image.width, "height": image.height, "rgb": np.asarray(image).ravel().tolist()}
        data.clip[name], data.dino[name] = vector(), vector()
        return name

    for i in range(CASES):
        source = smooth(rng, *SIZE)
        target = smooth(rng, *SIZE)
        # The last two results differ in size from their references.
        height, width = [SIZE, SIZE, (29, 25), (13, 15)][i]
        result = target.resize((width, height), Image.BICUBIC)
        noise = rng.integers(-20, 21, (height, width, 3))
        result = Image.fromarray(np.clip(np.asarray(result, dtype=np.int64) + noise, 0, 255).astype(np.uint8))
        names = [add(f"{kind}{i}", image) for kind, image in (("source", source), ("target", target), ("result", result))]
        before, after, local = f"before {i}", f"after {i}", f"local {i}"
        if i == 1:
            after = before  # EMU Edit has rows with equal captions
        for text in (before, after, local):
            data.captions.setdefault(text, vector())
        subjects = [f"source{j}" for j in range(i + 1)]
        data.cases.append({"names": names, "before": before, "after": after, "local": local, "subjects": subjects})
    return data


def pixel_distances(data: Data, result: str, reference: str) -> tuple[float, float]:
    """Returns the mean absolute and the mean squared difference, at the reference's size."""
    b = data.image(reference)
    a = unit(data.image(result).resize(b.size))
    return (a - unit(b)).abs().mean().item(), ((a - unit(b)) ** 2).mean().item()


def metrics(data: Data, name: str, case: dict[str, object]) -> dict[str, float]:
    """Returns the metrics of a case by the protocol of the benchmark `name`."""
    clip, dino, captions = data.clip, data.dino, data.captions
    source, target, result = case["names"]
    row = {}
    change = clip[result] - clip[source]
    caption_change = captions[case["after"]] - captions[case["before"]]
    if name.startswith("emu-edit"):
        norm = lambda v: v / v.norm()  # noqa: E731
        change = norm(clip[result]) - norm(clip[source])
        caption_change = norm(captions[case["after"]]) - norm(captions[case["before"]])
        reference, caption = source, case["after"]
    elif name.startswith("magicbrush"):
        reference, caption = target, case["local"]
    else:
        reference, caption = None, case["local"]
    scale = 100 if name == "dreambench++" else 1
    row["clip-t"] = scale * cosine(clip[result], captions[caption])
    if reference is None:
        row["clip-i"] = scale * float(np.mean([cosine(clip[result], clip[s]) for s in case["subjects"]]))
        row["dino"] = scale * float(np.mean([cosine(dino[result], dino[s]) for s in case["subjects"]]))
        if name == "dreambench++":
            row["dinov2"] = row["dino"]
        return row
    row["clip-dir"] = cosine(change, caption_change)
    row["clip-i"] = cosine(clip[result], clip[reference])
    if name != "emu-edit/instruct-pix2pix":
        row["dino"] = cosine(dino[result], dino[reference])
        row["l1"], l2 = pixel_distances(data, result, reference)
        if name.startswith("magicbrush"):
            row["l2"] = l2
    return row


def similarities(data: Data) -> list[dict[str, object]]:
    """Returns SSIM and PSNR of images of one size, like those of the tabletop."""
    rows = []
    for i in range(2):
        for a, b in ((f"result{i}", f"target{i}"), (f"source{i}", f"target{i}")):
            one, other = np.asarray(data.image(a)), np.asarray(data.image(b))
            similarity = structural_similarity(
                one, other, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
            )
            ratio = peak_signal_noise_ratio(other, one, data_range=255)
            rows.append({"a": a, "b": b, "ssim": float(similarity), "psnr": float(ratio)})
    return rows


def main() -> None:
    data = random_data()
    vectors = lambda of: {name: [float(x) for x in v] for name, v in of.items()}  # noqa: E731
    FILE.write_text(json.dumps({
        "pictures": data.images, "clip": vectors(data.clip), "dino": vectors(data.dino), "captions": vectors(data.captions),
        "cases": data.cases, "expected": {name: [metrics(data, name, case) for case in data.cases] for name in BENCHMARKS},
        "plain": similarities(data),
    }, separators=(",", ":")) + "\n")
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
