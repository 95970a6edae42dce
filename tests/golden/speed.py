"""Steps of training of the torch twin, timed: forward, backward and AdamW on made-up numbers; prints a line of JSON.

    unireal bench train > ours.json; python speed.py ours.json [--bf16]

In f32, or with --bf16 under bf16 autocast and torch.compile, torch's fastest form. The shapes are those of the line that `unireal bench train` printed; `scripts/bench train` runs both in turns.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time

import torch

from twin import TransformerConfig, UniRealTransformer

with open(sys.argv[1]) as file:
    ours = json.load(file)
torch.set_num_threads(ours["threads"])
torch.manual_seed(0)
apart = ours["config"].pop("attention", "full")
config = TransformerConfig(**ours["config"])
model = UniRealTransformer(config)
in_bf16 = "--bf16" in sys.argv[2:]
network = torch.compile(model) if in_bf16 else model
precision = torch.autocast("cpu", torch.bfloat16) if in_bf16 else contextlib.nullcontext()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01)
b, n_text = ours["batch"], ours["text"]
latent = (b, config.in_channels, ours["cells"], ours["cells"])
seconds = []
for step in range(ours["steps"] + 1):
    start = time.perf_counter()
    text, image_refs = torch.randn(b, n_text, config.text_dim), torch.zeros(b, n_text)
    source, target, noise, t = torch.randn(latent), torch.randn(latent), torch.randn(latent), torch.rand(b)
    noisy = target + (noise - target) * t[:, None, None, None]
    with precision:
        (velocity,) = network(text, image_refs, [(source, "canvas")], [noisy], t, apart=apart)
    loss = (velocity.float() - (noise - target)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    seconds.append(time.perf_counter() - start)
median = statistics.median(seconds[1:])
print(json.dumps({"engine": "torch bf16" if in_bf16 else "torch f32", "step_seconds": round(median, 4), "samples_per_second": round(b / median, 2)}))
