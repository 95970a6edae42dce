"""Reads the latents of `unireal data encode` and draws micro-batches from them on the device."""

from __future__ import annotations

import json
import os
import pathlib
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twin import ROLES

FRAMES = 3  # maximum number of input frames, and of output frames, of a sample
PROMPTS = 6  # maximum number of paraphrases of a sample
MAX_TOKENS = 96  # longer paraphrases are skipped


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
    samples = Samples(
        frames, [], *(np.full((n, FRAMES), -1, np.int32) for _ in range(2)), np.zeros((n, FRAMES), np.int8),
        np.zeros((n, tokens), np.uint8), np.zeros((n, PROMPTS, MAX_TOKENS), np.int16), np.zeros((n, PROMPTS), np.int16), np.zeros(n, np.int16),
    )
    for i, row in enumerate(chosen):
        samples.kind.append(row["kind"] + (f"/{row['variant']}" if row["variant"] else ""))
        for k, (name, _, _) in enumerate(row["inputs"]):
            samples.inputs[i, k] = known[name]
            samples.roles[i, k] = ROLES.index(row["roles"][k])
        for k, (name, _, _) in enumerate(row["outputs"]):
            samples.outputs[i, k] = known[name]
        if len(row["changed"]) == tokens:
            samples.changed[i] = np.frombuffer(row["changed"].encode(), np.uint8) - ord("0")
        count = 0
        for prompt in row["prompts"][:PROMPTS]:
            ids = next(encoded).ids
            if len(ids) <= MAX_TOKENS:
                samples.tokens[i, count, : len(ids)] = ids
                samples.lengths[i, count] = len(ids)
                count += 1
        lengths = samples.lengths[i, : max(count, 1)]
        samples.shortest[i] = int(lengths.argmin())
    selected = np.flatnonzero(samples.lengths[:, 0] > 0)
    samples.kind = [samples.kind[i] for i in selected]
    for name in ("inputs", "outputs", "roles", "changed", "tokens", "lengths", "shortest"):
        setattr(samples, name, getattr(samples, name)[selected])
    return samples


class Column:
    """A growable tensor on the device."""

    def __init__(self, like: np.ndarray, device: torch.device):
        self.rows = torch.empty((4096, *like.shape[1:]), dtype=torch.from_numpy(like[:0]).dtype, device=device)
        self.n = 0

    def add(self, values: np.ndarray) -> None:
        if self.n + len(values) > len(self.rows):
            larger = torch.empty((2 * (self.n + len(values)), *self.rows.shape[1:]), dtype=self.rows.dtype, device=self.rows.device)
            larger[: self.n] = self.rows[: self.n]
            self.rows = larger
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

    def read_new(self, pool: ProcessPoolExecutor) -> None:
        """Starts to read new files and adds those that were read."""
        for note in sorted(self.folder.glob("*.json")):
            if note.name not in self.seen:
                self.seen.add(note.name)
                self.reading.append(pool.submit(read_shard, str(note), self.channels))
        ready = [r for r in self.reading if r.done()][:32]
        for reading in ready:
            self.add(reading.result())
        self.reading = [r for r in self.reading if r not in ready]
        if ready:
            self.index()

    def add(self, samples: Samples) -> None:
        part = np.array([self.part_of(kind) for kind in samples.kind], np.int16)
        selected = np.flatnonzero(part >= 0)
        first = self.columns["frames"].n if self.columns else 0
        inputs = np.where(samples.inputs >= 0, samples.inputs + first, -1)[selected]
        outputs = np.where(samples.outputs >= 0, samples.outputs + first, -1)[selected]
        arrays = {
            "frames": samples.frames, "inputs": inputs, "outputs": outputs, "roles": samples.roles[selected], "changed": samples.changed[selected],
            "tokens": samples.tokens[selected], "part": part[selected],
        }
        for name, values in arrays.items():
            self.columns.setdefault(name, Column(values, self.device)).add(values)
        self.part = np.concatenate((self.part, part[selected]))
        self.lengths = np.concatenate((self.lengths, samples.lengths[selected]))
        self.shortest = np.concatenate((self.shortest, samples.shortest[selected]))
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
        prompt = np.where(rng.random(count) < stage["shortest_prompt_prob"], self.shortest[rows], prompt)
        silent = rng.random(count) < stage["text_dropout"]
        unconditional = rng.random() < stage["image_dropout"]
        if unconditional:
            silent[:], n_inputs = True, 0
        grounding_only = n_inputs > 0 and not unconditional and rng.random() < stage["grounding_only"]
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
            area = changed.sum(1)
            draws.append(
                Draw(
                    kinds=of("part").long(), ids=ids, present=present,
                    inputs=[frames[of("inputs")[:, k].long()].float() for k in range(n_inputs)],
                    roles=[of("roles")[:, k].long() for k in range(n_inputs)],
                    outputs=[frames[of("outputs")[:, k].long()].float() for k in range(n_outputs)],
                    changed=changed, known=~quiet & (area > 0) & (area < changed.shape[1]), grounding_only=grounding_only,
                )
            )
        return draws
