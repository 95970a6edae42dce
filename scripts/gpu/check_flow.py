"""Compares the losses of train_flow.py with the torch twin's, in f32 on random numbers: [SEED=N] python check_flow.py"""

from __future__ import annotations

import os
import random

import torch
from transformers import T5Config

from train_flow import Draw, Networks, TransformerConfig, read_stage  # puts the twin's folder on the path

seed = int(os.environ.get("SEED", random.randrange(2**32)))
print(f"seed {seed}")
torch.manual_seed(seed)
config = TransformerConfig(
    in_channels=6, patch_size=1, hidden_size=64, num_layers=4, num_attention_heads=2, mlp_ratio=4.0, text_dim=32, axes_dims=(8, 12, 12),
    rope_theta=100.0, max_inputs=10, max_outputs=10, frequency_dim=64, norm_eps=1e-6,
)
text = T5Config(vocab_size=50, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu", dropout_rate=0.0,
                is_encoder_decoder=False, use_cache=False)
networks = Networks(text, config, torch.float32)
networks.register_buffer("index_rows", torch.randint(0, 21, (50,)), persistent=False)
with torch.no_grad():
    for weight in networks.parameters():
        weight += 0.05 * torch.randn_like(weight)

side, b, worst = 4, 3, 0.0
for n_in, n_out, draws in ((0, 1, 1), (1, 1, 2), (3, 2, 1), (2, 1, 3)):
    frame = lambda: torch.randn(b, side * side, 6)
    lengths = torch.tensor([7, 5, 8])
    draw = Draw(
        kinds=torch.zeros(b), ids=torch.randint(0, 50, (b, 8)), present=torch.arange(8)[None] < lengths[:, None],
        inputs=[frame() for _ in range(n_in)], roles=[torch.randint(0, 3, (b,)) for _ in range(n_in)],
        outputs=[frame() for _ in range(n_out)], changed=(torch.rand(b, side * side) < 0.3).float(), known=torch.ones(b, dtype=torch.bool),
        grounding_only=False,
    )
    stage = read_stage({"edit_region_weight": 4.0, "grounding": 0.0})
    t, noise = torch.rand(b * draws), torch.randn(b * draws, n_out * side * side, 6)
    randn_like, torch.randn_like = torch.randn_like, lambda x: noise
    _, ours = networks.losses(draw, stage, draws, lambda count: t)
    torch.randn_like = randn_like

    # The twin takes one sample at a time: roles differ within the batch, and it needs no padding.
    image = lambda tokens: tokens.mT.reshape(1, 6, side, side)
    for i in range(b):
        ids = draw.ids[i : i + 1, : lengths[i]]
        rows = networks.index_rows[ids]
        image_refs = torch.where(rows <= 10, rows, 10 - rows)
        states = networks.text(input_ids=ids).last_hidden_state
        inputs = [(image(f[i : i + 1]), ("canvas", "asset", "control")[r[i]]) for f, r in zip(draw.inputs, draw.roles)]
        weight = 1 + 3 * draw.changed[i]
        weight = (weight / weight.mean()).reshape(1, 1, side, side)
        expected = 0.0
        for j in range(i * draws, (i + 1) * draws):
            eps = [image(part[None]) for part in noise[j].split(side * side)]
            targets = [image(f[i : i + 1]) for f in draw.outputs]
            noisy = [x + (e - x) * t[j] for x, e in zip(targets, eps)]
            velocity = networks.transformer(states, image_refs, inputs, noisy, t[j : j + 1], apart="clean-apart")
            errors = [((v - (e - x)).square() * weight).mean() for v, e, x in zip(velocity, eps, targets)]
            expected += sum(errors) / len(errors) / draws
        off = abs(float(ours[i].detach()) / float(expected.detach()) - 1)
        worst = max(worst, off)
        assert off < 1e-4, f"seed {seed}: {n_in} inputs, {n_out} outputs: {float(ours[i])}, the twin's {float(expected)}"
print(f"losses agree with the twin within {worst:.1e}")
