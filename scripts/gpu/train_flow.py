"""Trains the flow stages of a configuration with PyTorch on an NVIDIA GPU, from latents written by `unireal data encode`.

    python train_flow.py --config CONFIG.json --pack PACK --data DIR --out RUN [--seconds N]

Stages have the keys, losses, optimizers and sampling of `unireal train` (src/tools/train). The parameters are those of the torch twin
(tests/golden/twin.py); the forward pass here computes them in bf16, and clean tokens once for several noise draws. DIR has one folder
per image size (`64/`), to which files may be added while training runs. PACK provides the tokenizer, both configurations and, if it
holds plain safetensors files, the initial weights. RUN receives the averaged weights in f32 in the layout of a training run, which
`unireal pack` reads. check_flow.py compares the losses with the twin's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "tests" / "golden")]
from twin import ROLES, TransformerConfig, UniRealTransformer, rotary_angles  # noqa: E402

FRAMES = 3  # maximum number of input frames, and of output frames, of a sample
PROMPTS = 6  # maximum number of paraphrases of a sample
MAX_TOKENS = 96  # longer paraphrases are skipped


# ---- Data -----------------------------------------------------------------------------------------------------------------------


@dataclass
class Samples:
    """The samples of a shard as arrays."""

    frames: np.ndarray  # latents [frames, tokens, channels]
    kind: list[str]
    inputs: np.ndarray  # [n, FRAMES], rows of `frames`; -1: none
    outputs: np.ndarray  # like `inputs`
    roles: np.ndarray  # [n, FRAMES]
    changed: np.ndarray  # [n, tokens], 1 in the edited region; all 0 if it is unknown
    tokens: np.ndarray  # [n, PROMPTS, MAX_TOKENS]
    lengths: np.ndarray  # [n, PROMPTS]; 0: no such paraphrase
    shortest: np.ndarray  # [n]


_tokenizer = None


def start_worker(path: str) -> None:
    """Loads the tokenizer of a worker process."""
    from tokenizers import Tokenizer

    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer = Tokenizer.from_file(path)


def read_shard(note: str, channels: int) -> Samples:
    """Reads NOTE (.json) and the latents beside it (.f16)."""
    rows = json.loads(pathlib.Path(note).read_text())["samples"]
    side = rows[0]["outputs"][0][1]
    tokens = side[0] * side[1]
    bytes_each = 2 * channels * tokens
    blob = np.fromfile(pathlib.Path(note).with_suffix(".f16"), dtype="<f2").reshape(-1, channels, tokens)
    frames = np.ascontiguousarray(blob.transpose(0, 2, 1))
    known: dict[str, int] = {}
    chosen = []
    for row in rows:
        for name, sides, offset in row["inputs"] + row["outputs"]:
            if offset is not None and sides == side:
                known[name] = offset // bytes_each
        here = all(name in known and sides == side for name, sides, _ in row["inputs"] + row["outputs"])
        if here and len(row["inputs"]) <= FRAMES and len(row["outputs"]) <= FRAMES:
            chosen.append(row)
    texts = [", ".join([*row["context"], prompt.strip()]) for row in chosen for prompt in row["prompts"][:PROMPTS]]
    encoded = iter(_tokenizer.encode_batch(texts))
    n = len(chosen)
    made = Samples(
        frames, [], *(np.full((n, FRAMES), -1, np.int32) for _ in range(2)), np.zeros((n, FRAMES), np.int8),
        np.zeros((n, tokens), np.uint8), np.zeros((n, PROMPTS, MAX_TOKENS), np.int16), np.zeros((n, PROMPTS), np.int16), np.zeros(n, np.int16),
    )
    for i, row in enumerate(chosen):
        made.kind.append(row["kind"] + (f"/{row['variant']}" if row["variant"] else ""))
        for k, (name, _, _) in enumerate(row["inputs"]):
            made.inputs[i, k] = known[name]
            made.roles[i, k] = ROLES.index(row["roles"][k])
        for k, (name, _, _) in enumerate(row["outputs"]):
            made.outputs[i, k] = known[name]
        if len(row["changed"]) == tokens:
            made.changed[i] = np.frombuffer(row["changed"].encode(), np.uint8) - ord("0")
        kept = 0
        for prompt in row["prompts"][:PROMPTS]:
            ids = next(encoded).ids
            if len(ids) <= MAX_TOKENS:
                made.tokens[i, kept, : len(ids)] = ids
                made.lengths[i, kept] = len(ids)
                kept += 1
        lengths = made.lengths[i, : max(kept, 1)]
        made.shortest[i] = int(lengths.argmin())
    keep = np.flatnonzero(made.lengths[:, 0] > 0)
    made.kind = [made.kind[i] for i in keep]
    for name in ("inputs", "outputs", "roles", "changed", "tokens", "lengths", "shortest"):
        setattr(made, name, getattr(made, name)[keep])
    return made


class Column:
    """A growable tensor on the device."""

    def __init__(self, like: np.ndarray, device: torch.device):
        self.rows = torch.empty((4096, *like.shape[1:]), dtype=torch.from_numpy(like[:0]).dtype, device=device)
        self.n = 0

    def add(self, values: np.ndarray) -> None:
        if self.n + len(values) > len(self.rows):
            room = torch.empty((2 * (self.n + len(values)), *self.rows.shape[1:]), dtype=self.rows.dtype, device=self.rows.device)
            room[: self.n] = self.rows[: self.n]
            self.rows = room
        self.rows[self.n : self.n + len(values)] = torch.from_numpy(values).to(self.rows.device)
        self.n += len(values)


@dataclass
class Draw:
    """A micro-batch on the device; b samples, l text tokens, s tokens per frame, c channels."""

    kinds: Tensor  # [b], indices into `Bank.parts`
    ids: Tensor  # [b, l]
    present: Tensor  # [b, l], false for padding
    inputs: list[Tensor]  # [b, s, c]
    roles: list[Tensor]  # [b]
    outputs: list[Tensor]
    changed: Tensor  # [b, s]
    known: Tensor  # [b], whether the prompt refers to the region `changed`
    grounding_only: bool


class Bank:
    """All samples of one image size, on the device."""

    def __init__(self, folder: pathlib.Path, kinds: dict[str, float], channels: int, device: torch.device):
        self.folder, self.channels, self.device = folder, channels, device
        self.parts, self.weights = list(kinds), np.array(list(kinds.values()))
        self.columns: dict[str, Column] = {}
        self.seen: set[str] = set()
        self.reading: list[Future] = []
        self.lengths = np.zeros((0, PROMPTS), np.int16)
        self.shortest = np.zeros(0, np.int16)
        self.part = np.zeros(0, np.int16)
        self.geometry = np.zeros(0, np.int16)
        self.buckets: dict[tuple[int, int], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.part)

    def part_of(self, kind: str) -> int:
        for name in (kind, kind.split("/")[0]):
            if name in self.parts:
                return self.parts.index(name)
        return -1

    def look(self, pool: ProcessPoolExecutor, wait: bool = False) -> None:
        """Starts to read new files and adds those that were read."""
        for note in sorted(self.folder.glob("*.json")):
            if note.name not in self.seen:
                self.seen.add(note.name)
                self.reading.append(pool.submit(read_shard, str(note), self.channels))
        ready = self.reading if wait else [r for r in self.reading if r.done()][:32]
        for reading in ready:
            self.add(reading.result())
        self.reading = [r for r in self.reading if r not in ready]
        if ready:
            self.index()

    def add(self, samples: Samples) -> None:
        part = np.array([self.part_of(kind) for kind in samples.kind], np.int16)
        keep = np.flatnonzero(part >= 0)
        first = self.columns["frames"].n if self.columns else 0
        inputs = np.where(samples.inputs >= 0, samples.inputs + first, -1)[keep]
        outputs = np.where(samples.outputs >= 0, samples.outputs + first, -1)[keep]
        arrays = {
            "frames": samples.frames, "inputs": inputs, "outputs": outputs, "roles": samples.roles[keep], "changed": samples.changed[keep],
            "tokens": samples.tokens[keep], "part": part[keep],
        }
        for name, values in arrays.items():
            self.columns.setdefault(name, Column(values, self.device)).add(values)
        self.part = np.concatenate((self.part, part[keep]))
        self.lengths = np.concatenate((self.lengths, samples.lengths[keep]))
        self.shortest = np.concatenate((self.shortest, samples.shortest[keep]))
        shape = 4 * (inputs >= 0).sum(1) + (outputs >= 0).sum(1)
        self.geometry = np.concatenate((self.geometry, shape.astype(np.int16)))

    def index(self) -> None:
        key = self.part.astype(np.int64) * 64 + self.geometry
        order = np.argsort(key, kind="stable")
        values, starts = np.unique(key[order], return_index=True)
        self.buckets = {(int(v) // 64, int(v) % 64): rows for v, rows in zip(values, np.split(order, starts[1:]))}

    def rows(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """Draws `count` samples with equal numbers of frames; on average each kind has its weight."""
        totals = np.bincount(self.part, minlength=len(self.parts))
        chance = {at: self.weights[at[0]] * len(rows) / totals[at[0]] for at, rows in self.buckets.items()}
        shapes = sorted({shape for _, shape in chance})
        of_shape = np.array([sum(c for (_, s), c in chance.items() if s == shape) for shape in shapes])
        shape = shapes[rng.choice(len(shapes), p=of_shape / of_shape.sum())]
        buckets = [at for at in chance if at[1] == shape]
        share = np.array([chance[at] for at in buckets])
        counts = rng.multinomial(count, share / share.sum())
        return np.concatenate([self.buckets[at][rng.integers(len(self.buckets[at]), size=n)] for at, n in zip(buckets, counts)]), shape

    def draw(self, count: int, stage: dict, empty: list[int], rng: np.random.Generator) -> list[Draw]:
        """Draws a group of micro-batches with equal numbers of frames, sorted by prompt length to limit padding."""
        rows, shape = self.rows(count, rng)
        n_inputs, n_outputs = divmod(shape, 4)
        known = self.lengths[rows] > 0
        prompt = (rng.random(count) * known.sum(1)).astype(int)
        prompt = np.where(rng.random(count) < stage["plain"], self.shortest[rows], prompt)
        silent = rng.random(count) < stage["text_dropout"]
        unconditional = rng.random() < stage["image_dropout"]
        if unconditional:
            silent[:], n_inputs = True, 0
        grounding_only = n_inputs > 0 and not unconditional and rng.random() < stage["grounding_alone"]
        lengths = np.where(silent, len(empty), self.lengths[rows, prompt])
        order = np.argsort(lengths, kind="stable")
        draws = []
        for part in np.split(order, stage["micro_batches"]):
            longest = -(-int(lengths[part].max()) // 8) * 8
            to = lambda values, dtype=torch.long: torch.from_numpy(np.ascontiguousarray(values)).to(self.device, dtype, non_blocking=True)
            at, quiet = to(rows[part]), to(silent[part], torch.bool)
            of = lambda name: self.columns[name].rows[at]
            ids = self.columns["tokens"].rows[at, to(prompt[part])][:, :longest].long()
            blank = torch.zeros_like(ids)
            blank[:, : len(empty)] = torch.tensor(empty, device=self.device)
            ids = torch.where(quiet[:, None], blank, ids)
            present = torch.arange(longest, device=self.device)[None] < to(lengths[part])[:, None]
            frames, changed = self.columns["frames"].rows, of("changed").float()
            meant = changed.sum(1)
            draws.append(
                Draw(
                    kinds=of("part").long(), ids=ids, present=present,
                    inputs=[frames[of("inputs")[:, k].long()].float() for k in range(n_inputs)],
                    roles=[of("roles")[:, k].long() for k in range(n_inputs)],
                    outputs=[frames[of("outputs")[:, k].long()].float() for k in range(n_outputs)],
                    changed=changed, known=~quiet & (meant > 0) & (meant < changed.shape[1]), grounding_only=grounding_only,
                )
            )
        return draws


# ---- Network --------------------------------------------------------------------------------------------------------------------


# Flash attention has no mask. Padding is masked by EXTRA features per head instead (widths are multiples of 8): ones in queries, HIDDEN in
# the keys of padding and 0 in all others.
HIDDEN = -80000.0
EXTRA = 8


def rotate(u: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary embeddings to adjacent pairs of [b, h, n, head_dim]; tables [n, head_dim / 2]."""
    even, odd = u.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(u.dtype)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight.to(x.dtype), bias.to(x.dtype))


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], weight.to(x.dtype), eps)


def modulated(x: Tensor, shift: Tensor, scale: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    return (F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + scale) + shift).to(dtype)


def repeat(x: Tensor, count: int) -> Tensor:
    """Like `repeat_interleave` along the first axis, which waits for the device."""
    return x[:, None].expand(-1, count, *x.shape[1:]).flatten(0, 1)


def half_block(x, modulation, table, hidden, seen, weights, heads: int, eps: float, dtype: torch.dtype, last: bool):
    """Applies a block to clean or to noise tokens x [b, n, d], which also attend to the keys and values `seen`.

    hidden [b, n, EXTRA] is HIDDEN in the first feature of padding, else 0. Returns the tokens, and their keys and values. With `last`, the
    tokens stay as they are: nothing reads the last block's clean tokens.
    """
    offset, qkv_w, qkv_b, q_norm, k_norm, out_w, out_b, first_w, first_b, second_w, second_b = weights
    shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + offset).chunk(6, dim=-1)
    b, n, d = x.shape
    qkv = linear(modulated(x, shift1, scale1, eps, dtype), qkv_w, qkv_b).reshape(b, n, 3, heads, d // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    k = torch.cat((rotate(rms(k, k_norm, eps), *table), hidden[:, None].expand(-1, heads, -1, -1)), -1)
    v = F.pad(v, (0, EXTRA))
    if last:
        return x, k, v
    q = F.pad(rotate(rms(q, q_norm, eps), *table), (0, EXTRA), value=1.0)
    keys, values = (k, v) if seen is None else (torch.cat((seen[0], k), 2), torch.cat((seen[1], v), 2))
    y = F.scaled_dot_product_attention(q, keys, values, scale=(d // heads) ** -0.5)[..., :-EXTRA]
    x = x + gate1 * linear(y.transpose(1, 2).reshape(b, n, d), out_w, out_b)
    y = F.gelu(linear(modulated(x, shift2, scale2, eps, dtype), first_w, first_b), approximate="tanh")
    return x + gate2 * linear(y, second_w, second_b), k, v


class Networks(nn.Module):
    """Text encoder, transformer and grounding head."""

    def __init__(self, text: T5Config, config: TransformerConfig, dtype: torch.dtype):
        super().__init__()
        self.text = T5EncoderModel(text)
        self.transformer = UniRealTransformer(config)
        self.grounding = nn.Linear(config.hidden_size, 1)
        self.config, self.dtype = config, dtype
        self.half_block = half_block
        self.tables: dict[tuple, tuple[Tensor, Tensor]] = {}
        self.initialise(text)

    @torch.no_grad()
    def initialise(self, text: T5Config) -> None:
        """Initialises weights as src/model does."""
        network = self.transformer
        for module in network.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for module in (network.modulation, network.final_modulation, network.patch_out):
            nn.init.zeros_(module.weight)
        nn.init.xavier_uniform_(self.grounding.weight)
        nn.init.zeros_(self.grounding.bias)
        nn.init.normal_(self.text.shared.weight, std=1.0)
        for name, weight in self.text.named_parameters():
            if "SelfAttention.relative" in name:
                half = weight.shape[0] // 2
                for row in range(weight.shape[0]):
                    after, distance = row >= half, row % half
                    weight[row] = -0.5 * distance
                    for head, side in ((0, False), (1, True)):
                        weight[row, head] = 4.0 if distance == 1 and after == side else 0.0
            elif weight.ndim == 2 and "shared" not in name and "embed" not in name:
                shrunk = text.d_kv if name.endswith("SelfAttention.q.weight") else 1
                nn.init.normal_(weight, std=(weight.shape[1] * shrunk) ** -0.5)

    def words(self, size: int, tokenizer) -> None:
        """Stores the row of the index embedding of every token id (IMGk, RESk)."""
        config = self.config
        table = torch.zeros(size, dtype=torch.long)
        for k in range(config.max_inputs):
            table[tokenizer.token_to_id(f"IMG{k + 1}")] = 1 + k
        for k in range(config.max_outputs):
            table[tokenizer.token_to_id(f"RES{k + 1}")] = 1 + config.max_inputs + k
        self.register_buffer("word_rows", table, persistent=False)

    def table(self, texts: int, inputs: int, outputs: int, side: int) -> tuple[Tensor, Tensor]:
        """Returns the rotary tables, cosines and sines, of text, input and output frames."""
        key = (texts, inputs, outputs, side)
        if key not in self.tables:
            grid = [(y, x) for y in range(side) for x in range(side)]
            rows = [(0, 0, 0)] * texts
            for sign, count in ((1, inputs), (-1, outputs)):
                rows += [(sign * k, y, x) for k in range(1, count + 1) for y, x in grid]
            position = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)
            angles = rotary_angles(position, self.config.axes_dims, self.config.rope_theta)
            device = self.grounding.weight.device
            self.tables[key] = angles.cos().float().to(device), angles.sin().float().to(device)
        return self.tables[key]

    def blocks(self) -> list[tuple]:
        return [
            (
                b.modulation_offset, b.attention.qkv.weight, b.attention.qkv.bias, b.attention.query_norm.weight, b.attention.key_norm.weight,
                b.attention.out.weight, b.attention.out.bias, b.mlp[0].weight, b.mlp[0].bias, b.mlp[2].weight, b.mlp[2].bias,
            )
            for b in self.transformer.blocks
        ]

    def clean(self, draw: Draw) -> Tensor:
        """Embeds text and input frames."""
        network = self.transformer
        with torch.autocast(draw.ids.device.type, self.dtype, enabled=self.dtype != torch.float32):
            states = self.text(input_ids=draw.ids, attention_mask=draw.present.long()).last_hidden_state
        # As matrix products: the gradient of a lookup with many equal indices is slow.
        chosen = lambda rows, table: F.one_hot(rows, len(table)).float() @ table
        none = torch.zeros(1, self.config.hidden_size, device=states.device)
        index = torch.cat((none, network.input_index.weight, network.output_index.weight))
        parts = [network.text_in(states.float()) + chosen(self.word_rows[draw.ids], index)]
        for k, (frame, role) in enumerate(zip(draw.inputs, draw.roles)):
            category = chosen(role, network.category.weight)[:, None]
            parts.append(network.patch_in(frame) + network.input_index.weight[k] + category)
        return torch.cat(parts, dim=1)

    def time(self, t: Tensor) -> Tensor:
        half = self.config.frequency_dim // 2
        w = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=t.device) / half)
        angles = 1000.0 * t.double()[:, None] * w
        return F.silu(self.transformer.time_in(torch.cat((angles.cos(), angles.sin()), dim=-1).float()))

    def grounding_losses(self, tokens: Tensor, draw: Draw, t: Tensor | float) -> Tensor:
        """Returns the balanced cross-entropy [b] of predicting the edited region from tokens [b, s, d]; 0 if it is unknown."""
        logits = self.grounding(F.layer_norm(tokens, tokens.shape[-1:], eps=self.config.norm_eps)).squeeze(-1)
        repeats = len(tokens) // len(draw.changed)
        changed, known = (repeat(x, repeats) for x in (draw.changed, draw.known))
        meant = changed.sum(1, keepdim=True)
        weight = 0.5 * torch.where(changed > 0, 1 / meant.clamp(min=1), 1 / (changed.shape[1] - meant).clamp(min=1))
        entropy = F.binary_cross_entropy_with_logits(logits, changed, reduction="none")
        return (entropy * weight).sum(1) * known * t

    def run(self, x, modulation, table, hidden, seen, weights, last=False):
        # Compile once for all batch sizes and sequence lengths.
        for tensor, axes in ((x, [0, 1]), (hidden, [0, 1]), *((part, [0]) for part in table), *((part, [0, 2]) for part in seen or ())):
            torch._dynamo.maybe_mark_dynamic(tensor, axes)
        if len(modulation) > 1:
            torch._dynamo.maybe_mark_dynamic(modulation, 0)
        heads, eps = self.config.num_attention_heads, self.config.norm_eps
        return self.half_block(x, modulation, table, hidden, seen, weights, heads, eps, self.dtype, last)

    def losses(self, draw: Draw, stage: dict, draws: int, times) -> tuple[Tensor, Tensor]:
        """Returns the training loss and the reported loss, [b] each: flow losses averaged over `draws` noise draws, or grounding losses."""
        network, x = self.transformer, self.clean(draw)
        (b, n_text), n_clean, device = draw.ids.shape, x.shape[1], x.device
        tokens = draw.outputs[0].shape[1]
        side = math.isqrt(tokens)
        n_in, n_out, middle = len(draw.inputs), len(draw.outputs), len(network.blocks) // 2
        hidden = torch.zeros(b, n_clean, EXTRA, dtype=self.dtype, device=device)
        hidden[:, :n_text, 0] = torch.where(draw.present, 0.0, HIDDEN)
        still = network.modulation(F.silu(network.clean.weight))[None]  # [1, 1, 6 d]
        table = self.table(n_text, n_in, 0, side)
        blocks = self.blocks()
        if draw.grounding_only:
            for weights in blocks[:middle]:
                x, _, _ = self.run(x, still, table, hidden, None, weights)
            shown = self.grounding_losses(x[:, n_text : n_text + tokens], draw, 1.0)
            return shown * stage["grounding"], shown
        t = times(b * draws).to(device)
        target = repeat(torch.cat(draw.outputs, 1), draws)
        noise = torch.randn_like(target)
        noisy = target + (noise - target) * t[:, None, None]
        index = repeat(network.output_index.weight[:n_out], tokens)
        y = network.patch_in(noisy) + index
        time = self.time(t)
        moving = network.modulation(time)[:, None]
        out_table = self.table(0, 0, n_out, side)
        nothing = torch.zeros(b * draws, n_out * tokens, EXTRA, dtype=self.dtype, device=device)
        for i, weights in enumerate(blocks):
            x, k, v = self.run(x, still, table, hidden, None, weights, last=i + 1 == len(blocks))
            y, _, _ = self.run(y, moving, out_table, nothing, (repeat(k, draws), repeat(v, draws)), weights)
            if i + 1 == middle and stage["grounding"] > 0:
                grounded = self.grounding_losses(y[:, :tokens], draw, t)
        shift, scale = network.final_modulation(time)[:, None].chunk(2, dim=-1)
        velocity = network.patch_out(F.layer_norm(y, y.shape[-1:], eps=self.config.norm_eps) * (1 + scale) + shift)
        weight = 1 + (stage["changed"] - 1) * draw.changed
        weight = repeat((weight / weight.mean(1, keepdim=True)).repeat(1, n_out), draws)
        shown = ((velocity - (noise - target)).square().mean(-1) * weight).mean(1)
        total = shown + stage["grounding"] * grounded if stage["grounding"] > 0 else shown
        return total.reshape(b, draws).mean(1), shown.reshape(b, draws).mean(1)


# ---- Optimizer ------------------------------------------------------------------------------------------------------------------


class Muon:
    """Muon as in src/tools/train/muon.rs, batched over matrices of equal shape."""

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float):
        shapes = sorted({p.shape for p in parameters})
        self.groups = [[p for p in parameters if p.shape == shape] for shape in shapes]
        self.velocities = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for group, velocity in zip(self.groups, self.velocities):
            gradient = torch.stack([p.grad if p.grad is not None else torch.zeros_like(p) for p in group])
            velocity.mul_(0.95).add_(gradient)
            x = (gradient + 0.95 * velocity).bfloat16()
            wide = x.shape[-2] <= x.shape[-1]
            x = x if wide else x.mT
            x = x / x.float().norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7).to(x.dtype)
            for _ in range(5):
                gram = x @ x.mT
                x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
            update = (x if wide else x.mT).float()
            scale = rate * 0.2 * math.sqrt(max(group[0].shape))
            for p, u in zip(group, update):
                p.mul_(1 - rate * self.weight_decay).add_(u, alpha=-scale)


@dataclass
class Trainer:
    networks: Networks
    out: pathlib.Path
    steps: int = 0
    samples: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        ends = ("qkv.weight", "attention.out.weight", "mlp.0.weight", "mlp.2.weight")
        named = list(self.networks.named_parameters())
        matrices = [p for name, p in named if name.startswith("transformer.blocks") and name.endswith(ends)]
        chosen = {id(p) for p in matrices}
        self.muon = Muon(matrices, 0.01)
        rest = [p for _, p in named if id(p) not in chosen]
        on_card = rest[0].is_cuda
        self.adamw = torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=on_card)
        self.parameters = [p for _, p in named]
        self.average = [p.detach().clone() for p in self.parameters]
        self.good = [p.clone() for p in self.average]

    def step(self, draws: list[Draw], stage: dict, rate: float, noises: int, times) -> tuple[Tensor, Tensor]:
        """Trains one step; returns the sums of the reported losses by kind, and their counts."""
        kinds = len(stage["kinds"])
        sums, counts = (torch.zeros(2 * kinds, device=self.parameters[0].device) for _ in range(2))
        for draw in draws:
            total, shown = self.networks.losses(draw, stage, noises, times)
            (total.mean() / len(draws)).backward()
            at = draw.kinds + (kinds if draw.grounding_only else 0)
            counted = draw.known.float() if draw.grounding_only else torch.ones_like(shown)
            sums.index_add_(0, at, shown.detach() * counted)
            counts.index_add_(0, at, counted)
        torch.nn.utils.clip_grad_norm_(self.parameters, stage["clip"])
        self.muon.step(rate)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)
        for p in self.parameters:
            p.grad = None
        self.steps += 1
        self.samples += sum(len(d.kinds) for d in draws)
        decay = min(stage["ema"], (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        return sums, counts

    def keep(self) -> None:
        """Keeps the averaged weights for `go_back`."""
        torch._foreach_copy_(self.good, self.average)

    @torch.no_grad()
    def go_back(self) -> None:
        """Restores the weights that were kept last and resets the optimizers."""
        torch._foreach_copy_(self.parameters, self.good)
        torch._foreach_copy_(self.average, self.good)
        for velocity in self.muon.velocities:
            velocity.zero_()
        self.adamw.state.clear()

    def swap(self) -> None:
        """Exchanges weights and averages."""
        with torch.no_grad():
            for p, average in zip(self.parameters, self.average):
                held = p.detach().clone()
                p.copy_(average)
                average.copy_(held)

    def save(self, folder: pathlib.Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes the averaged weights in the layout of a training run."""
        self.swap()
        tied = "encoder.embed_tokens.weight"
        for name, network in (("text_encoder", self.networks.text), ("transformer", self.networks.transformer)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            state = {k: v.to(dtype).contiguous().cpu() for k, v in network.state_dict().items() if k != tied}
            beside = folder / name / "model.partial"
            save_file(state, beside)
            beside.rename(folder / name / "model.safetensors")
        self.swap()


def random_draw(config: TransformerConfig, vocabulary: int, b: int, side: int, device: torch.device, grounding_only: bool) -> Draw:
    """Returns a micro-batch of edits made of random numbers."""
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
    compiled, fine = torch.compile(half_block), True
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for grounding_only in (True, False):
        draw = random_draw(networks.config, vocabulary, stage["batch"] // stage["groups"], 8, device, grounding_only)
        results, seconds = [], []
        for form in (half_block, compiled):
            networks.half_block = form
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
        fine &= off < 0.03 and (grounding_only or seconds[1] < seconds[0])
    return fine


def times_of(time_: dict, rng: torch.Generator):
    """Returns a sampler of times, as `Time` in src/tools/train/settings.rs."""

    def draw(count: int) -> Tensor:
        t = torch.sigmoid(time_["mean"] + time_["std"] * torch.randn(count, generator=rng))
        even = torch.rand(count, generator=rng)
        t = torch.where(torch.rand(count, generator=rng) < time_["uniform"], even, t)
        return time_["shift"] * t / (1 + (time_["shift"] - 1) * t)

    return draw


def read_stage(stage: dict) -> dict:
    """Adds the defaults of src/tools/train/settings.rs to a stage."""
    usual = {"warmup": 100, "ema": 0.999, "plain": 0.0, "text_dropout": 0.1, "image_dropout": 0.05, "changed": 3.0, "grounding": 0.0,
             "grounding_alone": 0.0, "clip": 1.0, "schedule": "decay", "groups": 2, "micro_batches": 1, "time": {}}
    stage = usual | stage
    stage["time"] = {"mean": 0.0, "std": 1.0, "shift": 1.0, "uniform": 0.1} | stage["time"]
    return stage


def main() -> None:
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
    options = parser.parse_args()
    begun = time.monotonic()
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    rng, generator = np.random.default_rng(options.seed), torch.Generator().manual_seed(options.seed)
    device = torch.device(options.device)
    read = lambda path: json.loads(path.read_text())
    settings = read(options.config)
    stages = [read_stage(s) for s in settings["stages"] if s["train"] == "flow"]
    keys = TransformerConfig.__dataclass_fields__
    shape = read(options.pack / "transformer/config.json")
    if shape.get("attention") != "clean-apart":
        raise SystemExit(f"{options.pack}: attention is {shape.get('attention')!r}, expected 'clean-apart'")
    config = TransformerConfig(**{k: v for k, v in shape.items() if k in keys})
    text = T5Config(**read(options.pack / "text_encoder/config.json"), dropout_rate=0.0, is_encoder_decoder=False, use_cache=False)
    text._attn_implementation = "eager"
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    networks = Networks(text, config, dtype)
    for name, network in (("text_encoder", networks.text), ("transformer", networks.transformer)):
        weights = options.pack / name / "model.safetensors"
        if weights.exists():
            state = {k: v.float() for k, v in load_file(weights).items()}
            missing, unexpected = network.load_state_dict(state, strict=False)
            assert not unexpected and set(missing) <= {"encoder.embed_tokens.weight"}, (missing, unexpected)
            print(f"{name}: from {weights}", flush=True)
    from tokenizers import Tokenizer

    vocabulary = options.pack / "tokenizer/tokenizer.json"
    tokenizer = Tokenizer.from_file(str(vocabulary))
    empty = tokenizer.encode("").ids
    networks.words(text.vocab_size, tokenizer)
    networks.to(device)
    if options.try_compiled:
        sys.exit(not try_compiled(networks, text.vocab_size, stages[-1 if len(stages) < 2 else 1], options.noises, device))
    trial = None if options.eager else subprocess.Popen([sys.executable, *sys.argv, "--try-compiled"])
    trainer = Trainer(networks, options.out)
    whole = sum(stage["minutes"] for stage in stages) * 60
    stretch = (options.seconds or whole) / whole
    options.out.mkdir(parents=True, exist_ok=True)
    curve = (options.out / "curve.csv").open("w")
    print("stage,seconds,steps,samples,pool,samples_per_second,loss,by kind", file=curve)
    with ProcessPoolExecutor(4, initializer=start_worker, initargs=(str(vocabulary),)) as pool:
        until = begun
        banks: dict[int, Bank] = {}
        for stage in stages:
            start = time.monotonic()
            until += 60 * stage["minutes"] * stretch
            bank = Bank(options.data / str(stage["size"]), stage["kinds"], config.in_channels, device)
            while len(bank) < settings.get("first_samples", 512):
                bank.look(pool)
                time.sleep(0.2)
            times = times_of(stage["time"], generator)
            first, looked, noted, at = trainer.steps, 0.0, time.monotonic(), trainer.samples
            kinds = len(bank.parts)
            sums, counts = (torch.zeros(2 * kinds, device=device) for _ in range(2))
            print(f"{stage['name']}: starts at {start - begun:.0f} s with {len(bank)} samples", flush=True)
            while (now := time.monotonic()) < until:
                if now - looked > 3:
                    bank.look(pool)
                    looked = time.monotonic()
                    if trial and trial.poll() is not None:
                        print(f"blocks are {'compiled from now on' if trial.returncode == 0 else 'not compiled'}", flush=True)
                        if trial.returncode == 0:
                            networks.half_block = torch.compile(half_block)
                        trial = None
                done = (now - start) / max(until - start, 1e-9)
                rate = stage["rate"] * min(1.0, (trainer.steps - first + 1) / stage["warmup"])
                if stage["schedule"] == "decay":
                    rate *= max(0.05, min(1.0, 1 - 0.95 * (done - 2 / 3) * 3))
                each = stage["batch"] // stage["groups"]
                draws = [d for _ in range(stage["groups"]) for d in bank.draw(each, stage, empty, rng)]
                more = trainer.step(draws, stage, rate, options.noises, times)
                sums += more[0]
                counts += more[1]
                if time.monotonic() - noted > 10:
                    mean = (sums / counts.clamp(min=1)).tolist()
                    if all(math.isfinite(x) for x in mean):
                        trainer.keep()
                    else:
                        print(f"{stage['name']}: the loss is not finite at step {trainer.steps}; continuing from the last good weights at half the learning rate")
                        trainer.go_back()
                        stage["rate"] /= 2
                    per = (trainer.samples - at) / (time.monotonic() - noted)
                    names = [*bank.parts, *(f"grounding {p}" for p in bank.parts)]
                    loss = sums[:kinds].sum() / counts[:kinds].sum().clamp(min=1)
                    told = " ".join(f"{n} {m:.4f}" for n, m, c in zip(names, mean, counts.tolist()) if c > 0)
                    line = f"{stage['name']},{time.monotonic() - begun:.1f},{trainer.steps},{trainer.samples},{len(bank)},{per:.0f},{float(loss):.5f},{told}"
                    print(line, flush=True)
                    print(line, file=curve, flush=True)
                    noted, at = time.monotonic(), trainer.samples
                    sums.zero_()
                    counts.zero_()
            trainer.save(options.out / "stages" / stage["name"], torch.float16)
        pool.shutdown(wait=False, cancel_futures=True)
    if trial:
        trial.kill()
    trainer.save(options.out)
    print(f"{trainer.samples} samples in {trainer.steps} steps, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
