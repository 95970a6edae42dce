"""The public evaluation codes' numbers by numpy, Pillow, torch and scikit-image, on random pictures and vectors: metrics.json.

What is computed here follows the descriptions of MagicBrush's image_eval.py (L1, L2, cosines), InstructPix2Pix's
clip_similarity.py (the direction of normalised vectors) and DreamBench (all pairs with the subject), written anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

FILE = Path(__file__).parent / "metrics.json"
CASES = 4
SIZE = (18, 22)
"""Height and width of what results are compared with."""
WIDTH = 12
"""Length of the vectors: as good as 512 for the arithmetic."""


def smooth(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """A picture with structure, as photographs have, and some noise."""
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC), dtype=np.int64)
    return Image.fromarray(np.clip(picture + rng.integers(-9, 10, picture.shape), 0, 255).astype(np.uint8))


def unit(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture).copy()).double() / 255


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1).item()


def main() -> None:
    rng = np.random.default_rng(6)
    vector = lambda: torch.from_numpy(rng.normal(0.2, 1, WIDTH).astype(np.float32))  # noqa: E731
    pictures, clip, dino, captions, cases = {}, {}, {}, {}, []

    def add(name: str, picture: Image.Image) -> str:
        pictures[name] = {"width": picture.width, "height": picture.height, "rgb": np.asarray(picture).ravel().tolist()}
        clip[name], dino[name] = vector(), vector()
        return name

    for i in range(CASES):
        source = smooth(rng, *SIZE)
        target = smooth(rng, *SIZE)
        # The last two results differ in size from their references.
        height, width = [SIZE, SIZE, (29, 25), (13, 15)][i]
        result = target.resize((width, height), Image.BICUBIC)
        noise = rng.integers(-20, 21, (height, width, 3))
        result = Image.fromarray(np.clip(np.asarray(result, dtype=np.int64) + noise, 0, 255).astype(np.uint8))
        names = [add(f"{kind}{i}", picture) for kind, picture in (("source", source), ("target", target), ("result", result))]
        before, after, local = f"before {i}", f"after {i}", f"local {i}"
        if i == 1:
            after = before  # EMU Edit has rows with equal captions
        for text in (before, after, local):
            captions.setdefault(text, vector())
        subjects = [f"source{j}" for j in range(i + 1)]
        cases.append({"names": names, "before": before, "after": after, "local": local, "subjects": subjects})

    def pixels(result: str, reference: str) -> tuple[float, float]:
        picture = lambda name: Image.fromarray(  # noqa: E731
            np.array(pictures[name]["rgb"], dtype=np.uint8).reshape(pictures[name]["height"], pictures[name]["width"], 3)
        )
        b = picture(reference)
        a = unit(picture(result).resize(b.size))
        return (a - unit(b)).abs().mean().item(), ((a - unit(b)) ** 2).mean().item()

    expected: dict[str, list[dict[str, float]]] = {}
    for name in ("emu-edit/ultraedit", "emu-edit/instruct-pix2pix", "magicbrush/all-turn", "dreambench", "dreambench++"):
        rows = []
        for case in cases:
            source, target, result = case["names"]
            row = {}
            change = clip[result] - clip[source]
            words = captions[case["after"]] - captions[case["before"]]
            if name.startswith("emu-edit"):
                norm = lambda v: v / v.norm()  # noqa: E731
                change = norm(clip[result]) - norm(clip[source])
                words = norm(captions[case["after"]]) - norm(captions[case["before"]])
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
            else:
                row["clip-dir"] = cosine(change, words)
                row["clip-i"] = cosine(clip[result], clip[reference])
                if name != "emu-edit/instruct-pix2pix":
                    row["dino"] = cosine(dino[result], dino[reference])
                    row["l1"], l2 = pixels(result, reference)
                    if name.startswith("magicbrush"):
                        row["l2"] = l2
            rows.append(row)
        expected[name] = rows

    # Images of one size, like those of the tabletop.
    array = lambda name: np.array(pictures[name]["rgb"], dtype=np.uint8).reshape(*SIZE, 3)  # noqa: E731
    plain = []
    for i in range(2):
        for a, b in ((f"result{i}", f"target{i}"), (f"source{i}", f"target{i}")):
            similarity = structural_similarity(
                array(a), array(b), channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
            )
            ratio = peak_signal_noise_ratio(array(b), array(a), data_range=255)
            plain.append({"a": a, "b": b, "ssim": float(similarity), "psnr": float(ratio)})

    vectors = lambda of: {name: [float(x) for x in v] for name, v in of.items()}  # noqa: E731
    FILE.write_text(json.dumps({
        "pictures": pictures, "clip": vectors(clip), "dino": vectors(dino), "captions": vectors(captions),
        "cases": cases, "expected": expected, "plain": plain,
    }, separators=(",", ":")) + "\n")
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
