"""Times one edit by `unireal generate` and by the same networks in torch, in turns, on the CPU; prints a line of JSON.

    python generate.py UNIREAL PACK IMAGE ROUNDS

PACK holds float weights. Both load first; the time is that from the request to the image: two prompts encoded, the canvas
encoded, 20 steps with guidance, the result decoded. Noise differs, so images are compared by the parity tests alone
(`cargo test -p unireal-tools --test golden`). torch takes its better form: the two branches of guidance one after the other, or as one padded batch.
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

import diffusers
import numpy as np
import tokenizers
import torch
import transformers
from PIL import Image
from torch import Tensor

import packs

PROMPT = "remove the cyan sphere"
STEPS, GUIDANCE = 20, 2.0


class Pipeline:
    """Implements `src/pipeline.rs` in torch."""

    def __init__(self, pack: Path):
        _, self.transformer = packs.transformer(pack)
        self.text = transformers.T5EncoderModel(transformers.T5Config(**packs.read_config(pack, "text_encoder"), dropout_rate=0.0))
        found = self.text.load_state_dict(packs.read_weights(pack, "text_encoder"), strict=False)
        assert not found.unexpected_keys, found
        config = packs.read_config(pack, "vae")
        levels = len(config["block_out_channels"])
        self.vae = diffusers.AutoencoderKL(
            **config, down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels
        )
        self.vae.load_state_dict(packs.read_weights(pack, "vae"))
        self.tokenizer = tokenizers.Tokenizer.from_file(str(pack / "tokenizer/tokenizer.json"))
        for model in (self.transformer, self.text, self.vae):
            model.eval()

    def encode(self, text: str) -> Tensor:
        ids = torch.tensor([self.tokenizer.encode(text).ids])
        return self.text(input_ids=ids).last_hidden_state

    @torch.inference_mode()
    def generate(self, image: Tensor, batched: bool) -> Tensor:
        full, empty = self.encode(f"synthetic style, static scenario, {PROMPT}"), self.encode("")
        scale, shift = self.vae.config.scaling_factor, self.vae.config.shift_factor
        latent = (self.vae.encode(image).latent_dist.mean - shift) * scale
        x = torch.randn_like(latent)
        branches = [(full, GUIDANCE), (empty, 1.0 - GUIDANCE)]
        padded = torch.zeros(2, full.shape[1], full.shape[2])
        mask = torch.zeros(2, full.shape[1])
        for i, (states, _) in enumerate(branches):
            padded[i, : states.shape[1]] = states
            mask[i, : states.shape[1]] = 1
        for i in range(STEPS):
            t = torch.tensor([1.0 - i / STEPS])
            if batched:
                image_refs = torch.zeros(padded.shape[:2], dtype=torch.int64)
                pair = self.transformer(padded, image_refs, [(latent.expand(2, -1, -1, -1), "canvas")], [x.expand(2, -1, -1, -1)], t.expand(2), mask)[0]
                v = GUIDANCE * pair[:1] + (1.0 - GUIDANCE) * pair[1:]
            else:
                v = sum(
                    weight * self.transformer(states, torch.zeros(states.shape[:2], dtype=torch.int64), [(latent, "canvas")], [x], t)[0]
                    for states, weight in branches
                )
            x = x - v / STEPS
        return self.vae.decode(x / scale + shift).sample


def main() -> None:
    unireal, pack, image, rounds = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    pipeline = Pipeline(pack)
    pixels = np.asarray(Image.open(image).convert("RGB").resize((64, 64)), dtype=np.float32) / 127.5 - 1
    canvas = torch.from_numpy(pixels).permute(2, 0, 1)[None]

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                unireal, "generate", "--pack", str(pack), "--image", f"canvas={image}", "--prompt", PROMPT, "--device", "cpu",
                "--steps", str(STEPS), "--guidance", str(GUIDANCE), "--no-composite", "--out", f"{folder}/out.png", "--json",
            ]
            found = subprocess.run(command, check=True, capture_output=True, env=os.environ | {"RAYON_NUM_THREADS": str(threads)})
            return json.loads(found.stdout)["generate_ms"]

    def theirs(batched: bool) -> float:
        start = time.perf_counter()
        pipeline.generate(canvas, batched)
        return 1e3 * (time.perf_counter() - start)

    runs = {"ours": ours, "one by one": lambda: theirs(False), "batched": lambda: theirs(True)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            taken = run()
            if round_ > 0:  # The first round warms up.
                times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    best = min(("one by one", "batched"), key=medians.get)
    ratio = statistics.median(b / a for a, b in zip(times["ours"], times[best]))
    print(f"{medians}, {threads} threads", file=sys.stderr)
    print(json.dumps({
        "what": "generate, an edit of 20 steps", "against": f"torch, {best}", "ours_ms": medians["ours"], "theirs_ms": medians[best], "ratio": ratio,
    }))


if __name__ == "__main__":
    main()
