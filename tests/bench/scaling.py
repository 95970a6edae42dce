"""Measures time and memory of one evaluation by tokens and width on the CPU, and extrapolates to the `5b` configuration.

    python scaling.py UNIREAL

Operations are counted by torch on the twin of the same shape, not derived from a formula; `unireal bench step` is timed. Prints tables in
Markdown, and lines of JSON before them.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

import packs

TOKENS = [256, 512, 1024, 2048, 4096, 8192]
WIDTHS = [128, 256, 512, 1024, 2048]
# Assumed peak rates of a current laptop GPU: FLOP/s and bytes/s.
FLOPS, BANDWIDTH = 10e12, 400e9
# The paper's model, and an image of 1024 pixels with one input image: 128 text tokens and two frames of 64 x 64 tokens.
LARGE = {"hidden_size": 3072, "num_layers": 42, "num_attention_heads": 24, "axes_dims": [16, 56, 56], "text_dim": 4096, "in_channels": 16, "patch_size": 2}
LARGE_TEXT, LARGE_CELLS = 128, 128


def operations(config: dict, n_text: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Returns the floating-point operations of one evaluation with one input and one output of `shape` cells, and the number of parameters."""
    with torch.device("meta"):
        model = packs.twin_of(config)
        text, image_refs = torch.zeros(1, n_text, config["text_dim"]), torch.zeros(1, n_text, dtype=torch.int64)
        latent = torch.zeros(1, config["in_channels"], *shape)
        t = torch.zeros(1)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(text, image_refs, [(latent, "canvas")], [latent], t)
    return counter.get_total_flops(), sum(parameter.numel() for parameter in model.parameters())


def measure(unireal: str, **options: int) -> dict:
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    found = json.loads(subprocess.run([unireal, "bench", "step", *arguments], check=True, capture_output=True, text=True).stdout)
    cells = (found["tokens"] - found["text"]) // 2
    found["flop"], _ = operations(found.pop("config"), found["text"], (1, cells))
    print(json.dumps(found), flush=True)
    return found


def exponent(rows: list[dict], by: str, what: str) -> float:
    """Returns the slope of the line through the logarithms."""
    x = [math.log(row[by]) for row in rows]
    y = [math.log(row[what]) for row in rows]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)


def table(rows: list[dict], by: str) -> None:
    print(f"\n| {by} | ms | GFLOP | GFLOP/s | MB above rest |\n|---|---|---|---|---|")
    for row in rows:
        rate = row["flop"] / row["step_ms"] / 1e6
        memory = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.0f}"
        print(f"| {row[by]} | {row['step_ms']:.1f} | {row['flop'] / 1e9:.2f} | {rate:.1f} | {memory} |")
    halves = {"all": rows, "lower half": rows[: len(rows) // 2 + 1], "upper half": rows[len(rows) // 2 :]}
    for name, some in halves.items():
        line = f"time grows as {by}^{exponent(some, by, 'step_ms'):.2f}, operations as {by}^{exponent(some, by, 'flop'):.2f}"
        if all(row["bytes"] for row in some):
            line += f", memory as {by}^{exponent(some, by, 'bytes'):.2f}"
        print(f"- {name}: {line}")


def main() -> None:
    unireal = sys.argv[1]
    by_tokens = [measure(unireal, tokens=n, width=512, layers=2, rounds=3 if n < 4096 else 1) for n in TOKENS]
    by_width = [measure(unireal, tokens=1024, width=d, layers=2, rounds=3 if d < 1024 else 1) for d in WIDTHS]
    table(by_tokens, "tokens")
    table(by_width, "width")

    config = by_base() | LARGE
    flop, parameters = operations(config, LARGE_TEXT, (LARGE_CELLS, LARGE_CELLS))
    tokens = LARGE_TEXT + 2 * (LARGE_CELLS // LARGE["patch_size"]) ** 2
    best = max(row["flop"] / row["step_ms"] / 1e6 for row in by_tokens + by_width)
    print(f"\n5b: {parameters / 1e9:.2f}e9 parameters, {tokens} tokens, {flop / 1e12:.1f} TFLOP an evaluation (counted)")
    for encoding, bits in (("f16", 16.0), ("q8", 8.5), ("q4", 4.5)):
        reading = parameters * bits / 8 / BANDWIDTH
        print(f"- {encoding}: weights read in {1e3 * reading:.0f} ms, arithmetic in {1e3 * flop / FLOPS:.0f} ms at the full rate: "
              f"{'arithmetic' if flop / FLOPS > reading else 'memory'} bounds it; at 60% of the rate {flop / FLOPS / 0.6:.1f} s an evaluation")
    print(f"(the same evaluation on this CPU, at its best rate above of {best:.0f} GFLOP/s: {flop / best / 1e9 / 60:.0f} minutes)")


def by_base() -> dict:
    """Returns the fields of a transformer that LARGE does not set."""
    return {
        "mlp_ratio": 4.0, "rope_theta": 100.0, "max_inputs": 10, "max_outputs": 10, "frequency_dim": 256, "norm_eps": 1e-6,
    }


if __name__ == "__main__":
    main()
