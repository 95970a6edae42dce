"""Trains the flow stages of a configuration with PyTorch on an NVIDIA GPU, from latents written by `unireal data encode`.

    python train_flow.py --config CONFIG.json --pack PACK --data DIR --out RUN [--seconds N]

Stages have the keys, losses, optimizers and sampling of `unireal train` (crates/tools/src/train). The parameters are those of the torch twin
(tests/golden/twin.py); the forward pass here computes them in bf16, and clean tokens once for several noise draws. DIR has one folder
per image size (`64/`), to which files may be added while training runs. PACK provides the tokenizer, both configurations and, if it
holds plain safetensors files, the initial weights. RUN receives the averaged weights in f32 in the layout of a training run, which
`unireal pack` reads. check_flow.py compares the losses with the twin's.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import T5Config

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "tests" / "golden")]
from flow_data import Bank, Draw, start_worker  # noqa: E402
from flow_networks import Networks, apply_block  # noqa: E402
from twin import TransformerConfig  # noqa: E402


class Muon:
    """Muon as in crates/tools/src/train/muon.rs, batched over matrices of equal shape."""

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float):
        shapes = sorted({p.shape for p in parameters})
        self.groups = [[p for p in parameters if p.shape == shape] for shape in shapes]
        self.velocities = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        for group, velocity in zip(self.groups, self.velocities):
            gradient = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in group])
            velocity.mul_(0.95).add_(gradient)
            x = (gradient + 0.95 * velocity).bfloat16()
            is_transposed = x.shape[-2] > x.shape[-1]
            x = x.mT if is_transposed else x
            x = x / x.float().norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7).to(x.dtype)
            for _ in range(5):
                gram = x @ x.mT
                x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
            update = (x.mT if is_transposed else x).float()
            scale = learning_rate * 0.2 * math.sqrt(max(group[0].shape))
            for p, u in zip(group, update):
                p.mul_(1 - learning_rate * self.weight_decay).add_(u, alpha=-scale)


@dataclass
class Trainer:
    networks: Networks
    steps: int = 0
    samples: int = 0

    def __post_init__(self):
        ends = ("qkv.weight", "attention.out.weight", "mlp.0.weight", "mlp.2.weight")
        named = list(self.networks.named_parameters())
        matrices = [p for name, p in named if name.startswith("transformer.blocks") and name.endswith(ends)]
        chosen = {id(p) for p in matrices}
        self.muon = Muon(matrices, 0.01)
        rest = [p for _, p in named if id(p) not in chosen]
        is_on_gpu = rest[0].is_cuda
        self.adamw = torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=is_on_gpu)
        self.parameters = [p for _, p in named]
        self.average = [p.detach().clone() for p in self.parameters]
        self.checkpoint = [p.clone() for p in self.average]

    def step(self, draws: list[Draw], stage: dict, learning_rate: float, noises: int, times) -> tuple[Tensor, Tensor]:
        """Trains one step; returns the sums of the reported losses by kind, and their counts."""
        kinds = len(stage["kinds"])
        sums, counts = (torch.zeros(2 * kinds, device=self.parameters[0].device) for _ in range(2))
        for draw in draws:
            total, reported = self.networks.losses(draw, stage, noises, times)
            (total.mean() / len(draws)).backward()
            at = draw.kinds + (kinds if draw.grounding_only else 0)
            counted = draw.known.float() if draw.grounding_only else torch.ones_like(reported)
            sums.index_add_(0, at, reported.detach() * counted)
            counts.index_add_(0, at, counted)
        torch.nn.utils.clip_grad_norm_(self.parameters, stage["max_grad_norm"])
        self.muon.step(learning_rate)
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        self.adamw.step()
        for p in self.parameters:
            p.grad = None
        self.steps += 1
        self.samples += sum(len(d.kinds) for d in draws)
        decay = min(stage["ema"], (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        return sums, counts

    def save_checkpoint(self) -> None:
        """Copies the averaged weights for `restore_checkpoint`."""
        torch._foreach_copy_(self.checkpoint, self.average)

    @torch.no_grad()
    def restore_checkpoint(self) -> None:
        """Restores the weights of the last checkpoint and resets the optimizers."""
        torch._foreach_copy_(self.parameters, self.checkpoint)
        torch._foreach_copy_(self.average, self.checkpoint)
        for velocity in self.muon.velocities:
            velocity.zero_()
        self.adamw.state.clear()

    def swap(self) -> None:
        """Exchanges weights and averages."""
        with torch.no_grad():
            for p, average in zip(self.parameters, self.average):
                weights = p.detach().clone()
                p.copy_(average)
                average.copy_(weights)

    def save(self, folder: pathlib.Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes the averaged weights in the layout of a training run."""
        self.swap()
        tied = "encoder.embed_tokens.weight"
        for name, network in (("text_encoder", self.networks.text), ("transformer", self.networks.transformer)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            state = {k: v.to(dtype).contiguous().cpu() for k, v in network.state_dict().items() if k != tied}
            partial = folder / name / "model.partial"
            save_file(state, partial)
            partial.rename(folder / name / "model.safetensors")
        self.swap()


def random_draw(config: TransformerConfig, vocabulary: int, b: int, side: int, device: torch.device, grounding_only: bool) -> Draw:
    """Returns a micro-batch of edits of random numbers."""
    frame = lambda: torch.randn(b, side * side, config.in_channels, device=device)
    flags = lambda *shape: torch.rand(*shape, device=device) < 0.3
    return Draw(
        kinds=torch.zeros(b, dtype=torch.long, device=device), ids=torch.randint(0, vocabulary, (b, 32), device=device),
        present=torch.arange(32, device=device)[None] < torch.randint(8, 33, (b, 1), device=device), inputs=[frame()],
        roles=[torch.zeros(b, dtype=torch.long, device=device)], outputs=[frame()], changed=flags(b, side * side).float(),
        known=torch.ones(b, dtype=torch.bool, device=device), grounding_only=grounding_only,
    )


def try_compiled(networks: Networks, vocabulary: int, stage: dict, noises: int, device: torch.device) -> bool:
    """Compiles the blocks and returns whether they give the same gradients as eager ones in less time. The compilation stays in torch's cache."""
    with torch.no_grad():
        for weight in networks.parameters():
            weight += 0.03 * torch.randn_like(weight)
    compiled, passed = torch.compile(apply_block), True
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for grounding_only in (True, False):
        draw = random_draw(networks.config, vocabulary, stage["batch"] // stage["groups"], 8, device, grounding_only)
        results, seconds = [], []
        for block in (apply_block, compiled):
            networks.apply_block = block
            for _ in range(4):
                torch.manual_seed(1)
                networks.zero_grad(set_to_none=True)
                wait()
                begun = time.monotonic()
                networks.losses(draw, stage, noises, torch.rand)[0].mean().backward()
                wait()
                took = time.monotonic() - begun
            results.append({name: p.grad.clone() for name, p in networks.named_parameters() if p.grad is not None})
            seconds.append(took)
        squares = [sum(float((g - (other or {}).get(name, 0)).square().sum()) for name, g in results[0].items()) for other in (results[1], None)]
        off = math.sqrt(squares[0] / squares[1])
        print(f"compiled: {1e3 * seconds[1]:.1f} ms, eager {1e3 * seconds[0]:.1f} ms; gradients differ by {off:.4f}", flush=True)
        # False for NaN.
        passed &= off < 0.03 and (grounding_only or seconds[1] < seconds[0])
    return passed


def times_of(time_: dict, rng: torch.Generator):
    """Returns a sampler of times, as `Time` in crates/tools/src/train/settings."""

    def draw(count: int) -> Tensor:
        t = torch.sigmoid(time_["mean"] + time_["std"] * torch.randn(count, generator=rng))
        even = torch.rand(count, generator=rng)
        t = torch.where(torch.rand(count, generator=rng) < time_["uniform"], even, t)
        return time_["shift"] * t / (1 + (time_["shift"] - 1) * t)

    return draw


def read_stage(stage: dict) -> dict:
    """Adds the defaults of crates/tools/src/train/settings to a stage."""
    defaults = {"warmup": 100, "ema": 0.999, "shortest_prompt_prob": 0.0, "text_dropout": 0.1, "image_dropout": 0.05, "edit_region_weight": 3.0, "grounding": 0.0,
             "grounding_only": 0.0, "max_grad_norm": 1.0, "schedule": "decay", "groups": 2, "micro_batches": 1, "time": {}}
    stage = defaults | stage
    stage["time"] = {"mean": 0.0, "std": 1.0, "shift": 1.0, "uniform": 0.1} | stage["time"]
    return stage


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=pathlib.Path)
    parser.add_argument("--pack", required=True, type=pathlib.Path)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seconds", type=float, help="total time, divided among the stages in proportion to their minutes")
    parser.add_argument("--noises", type=int, default=2, help="noise draws per sample")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "f32"])
    parser.add_argument("--eager", action="store_true", help="do not use torch.compile; by default blocks are compiled in another process and used if that works")
    parser.add_argument("--try-compiled", action="store_true", help="compile the blocks, compare gradients and times, and exit")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def load_networks(pack: pathlib.Path, dtype: torch.dtype) -> Networks:
    """Creates the networks of a pack's configurations, with its weights if it holds plain safetensors files."""
    read = lambda path: json.loads(path.read_text())
    shape = read(pack / "transformer/config.json")
    if shape.get("attention") != "clean-apart":
        raise SystemExit(f"{pack}: attention is {shape.get('attention')!r}, expected 'clean-apart'")
    config = TransformerConfig(**{k: v for k, v in shape.items() if k in TransformerConfig.__dataclass_fields__})
    text = T5Config(**read(pack / "text_encoder/config.json"), dropout_rate=0.0, is_encoder_decoder=False, use_cache=False)
    text._attn_implementation = "eager"
    networks = Networks(text, config, dtype)
    for name, network in (("text_encoder", networks.text), ("transformer", networks.transformer)):
        weights = pack / name / "model.safetensors"
        if weights.exists():
            state = {k: v.float() for k, v in load_file(weights).items()}
            missing, unexpected = network.load_state_dict(state, strict=False)
            assert not unexpected and set(missing) <= {"encoder.embed_tokens.weight"}, (missing, unexpected)
            print(f"{name}: from {weights}", flush=True)
    return networks


def learning_rate_of(stage: dict, steps: int, progress: float) -> float:
    """Returns the learning rate after `steps` steps and a fraction `progress` of the stage: linear warmup, then constant or decaying."""
    learning_rate = stage["learning_rate"] * min(1.0, (steps + 1) / stage["warmup"])
    if stage["schedule"] == "decay":
        learning_rate *= max(0.05, min(1.0, 1 - 0.95 * (progress - 2 / 3) * 3))
    return learning_rate


class Losses:
    """Sums the losses by kind between two log lines."""

    def __init__(self, parts: list[str], device: torch.device):
        self.names = [*parts, *(f"grounding {part}" for part in parts)]
        self.kinds = len(parts)
        self.sums, self.counts = (torch.zeros(2 * self.kinds, device=device) for _ in range(2))

    def add(self, sums: Tensor, counts: Tensor) -> None:
        self.sums += sums
        self.counts += counts

    def clear(self) -> None:
        self.sums.zero_()
        self.counts.zero_()

    def are_finite(self) -> bool:
        return bool(self.sums.isfinite().all())

    def mean(self) -> float:
        """Returns the mean flow loss."""
        return float(self.sums[: self.kinds].sum() / self.counts[: self.kinds].sum().clamp(min=1))

    def describe(self) -> str:
        """Returns the mean loss of every kind with samples."""
        means = (self.sums / self.counts.clamp(min=1)).tolist()
        return " ".join(f"{n} {m:.4f}" for n, m, c in zip(self.names, means, self.counts.tolist()) if c > 0)


class CompileTrial:
    """Compiles the blocks in another process while training runs, and switches to compiled blocks if that works."""

    def __init__(self, networks: Networks):
        self.networks = networks
        self.process: subprocess.Popen | None = subprocess.Popen([sys.executable, *sys.argv, "--try-compiled"])

    def poll(self) -> None:
        if self.process and self.process.poll() is not None:
            works = self.process.returncode == 0
            print(f"blocks are {'compiled from now on' if works else 'not compiled'}", flush=True)
            if works:
                self.networks.apply_block = torch.compile(apply_block)
            self.process = None

    def stop(self) -> None:
        if self.process:
            self.process.kill()


class Run:
    """A training run: its networks, data and log."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.begun = time.monotonic()
        torch.manual_seed(options.seed)
        torch.backends.cuda.matmul.allow_tf32 = True
        self.rng, self.generator = np.random.default_rng(options.seed), torch.Generator().manual_seed(options.seed)
        self.device = torch.device(options.device)
        self.settings = json.loads(options.config.read_text())
        self.stages = [read_stage(stage) for stage in self.settings["stages"] if stage["train"] == "flow"]
        self.networks = load_networks(options.pack, torch.bfloat16 if options.precision == "bf16" else torch.float32)
        from tokenizers import Tokenizer

        self.vocabulary = str(options.pack / "tokenizer/tokenizer.json")
        tokenizer = Tokenizer.from_file(self.vocabulary)
        self.empty = tokenizer.encode("").ids
        self.vocabulary_size = self.networks.text.config.vocab_size
        self.networks.set_index_rows(self.vocabulary_size, tokenizer)
        self.networks.to(self.device)

    def try_compiled(self) -> bool:
        stage = self.stages[-1 if len(self.stages) < 2 else 1]
        return try_compiled(self.networks, self.vocabulary_size, stage, self.options.noises, self.device)

    def train(self) -> None:
        """Trains all stages and writes the averaged weights."""
        options = self.options
        self.trial = None if options.eager else CompileTrial(self.networks)
        self.trainer = Trainer(self.networks)
        planned = sum(stage["minutes"] for stage in self.stages) * 60
        stretch = (options.seconds or planned) / planned
        options.out.mkdir(parents=True, exist_ok=True)
        with (options.out / "curve.csv").open("w") as self.curve, \
                ProcessPoolExecutor(4, initializer=start_worker, initargs=(self.vocabulary,)) as pool:
            print("stage,seconds,steps,samples,pool,samples_per_second,loss,by kind", file=self.curve)
            until = self.begun
            for stage in self.stages:
                start = time.monotonic()
                until += 60 * stage["minutes"] * stretch
                self.train_stage(stage, start, until, pool)
                self.trainer.save(options.out / "stages" / stage["name"], torch.float16)
            pool.shutdown(wait=False, cancel_futures=True)
        if self.trial:
            self.trial.stop()
        self.trainer.save(options.out)
        print(f"{self.trainer.samples} samples in {self.trainer.steps} steps, {time.monotonic() - self.begun:.0f} s", flush=True)

    def train_stage(self, stage: dict, start: float, until: float, pool: ProcessPoolExecutor) -> None:
        """Trains a stage from `start` to `until` and logs its losses every ten seconds."""
        trainer = self.trainer
        bank = Bank(self.options.data / str(stage["size"]), stage["kinds"], self.networks.config.in_channels, self.device)
        while len(bank) < self.settings.get("first_samples", 512):
            bank.read_new(pool)
            time.sleep(0.2)
        times = times_of(stage["time"], self.generator)
        losses = Losses(bank.parts, self.device)
        first_step, last_read, last_log, logged_samples = trainer.steps, 0.0, time.monotonic(), trainer.samples
        print(f"{stage['name']}: starts at {start - self.begun:.0f} s with {len(bank)} samples", flush=True)
        while (now := time.monotonic()) < until:
            if now - last_read > 3:
                bank.read_new(pool)
                last_read = time.monotonic()
                if self.trial:
                    self.trial.poll()
            learning_rate = learning_rate_of(stage, trainer.steps - first_step, (now - start) / max(until - start, 1e-9))
            each = stage["batch"] // stage["groups"]
            draws = [draw for _ in range(stage["groups"]) for draw in bank.draw(each, stage, self.empty, self.rng)]
            losses.add(*trainer.step(draws, stage, learning_rate, self.options.noises, times))
            if time.monotonic() - last_log > 10:
                self.checkpoint(stage, losses)
                speed = (trainer.samples - logged_samples) / (time.monotonic() - last_log)
                self.log(stage, losses, len(bank), speed)
                last_log, logged_samples = time.monotonic(), trainer.samples
                losses.clear()

    def checkpoint(self, stage: dict, losses: Losses) -> None:
        """Copies the weights, or restores the last copy if the loss is not finite."""
        if losses.are_finite():
            self.trainer.save_checkpoint()
        else:
            print(f"{stage['name']}: the loss is not finite at step {self.trainer.steps}; continuing from the last checkpoint at half the learning rate")
            self.trainer.restore_checkpoint()
            stage["learning_rate"] /= 2

    def log(self, stage: dict, losses: Losses, pool_size: int, speed: float) -> None:
        """Writes a line of curve.csv, and prints it."""
        trainer = self.trainer
        line = f"{stage['name']},{time.monotonic() - self.begun:.1f},{trainer.steps},{trainer.samples},{pool_size},{speed:.0f},{losses.mean():.5f},{losses.describe()}"
        print(line, flush=True)
        print(line, file=self.curve, flush=True)


def main() -> None:
    options = parse_options()
    run = Run(options)
    if options.try_compiled:
        sys.exit(not run.try_compiled())
    run.train()


if __name__ == "__main__":
    main()
