"""Implements the UniReal transformer in plain torch, as the reference of the Rust model.

Paper: "UniReal: Universal Image Generation and Editing via Learning Real-world Dynamics" (CVPR 2025), section 3.1.
Axes: b batch, n tokens, d width, h heads, c channels, y x the latent grid.
Convention: x_t = (1 - t) x0 + t eps, and the model predicts v = eps - x0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROLES = ("canvas", "asset", "control")


@dataclass(frozen=True)
class TransformerConfig:
    """The keys of `transformer/config.json`."""

    in_channels: int
    patch_size: int
    hidden_size: int
    num_layers: int
    num_attention_heads: int
    mlp_ratio: float
    text_dim: int
    axes_dims: tuple[int, int, int]
    rope_theta: float
    max_inputs: int
    max_outputs: int
    frequency_dim: int
    norm_eps: float

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def patch_dim(self) -> int:
        return self.in_channels * self.patch_size**2


def patchify(latent: Tensor, p: int) -> Tensor:
    """Converts an image to tokens, [b, c, Y, X] -> [b, (Y/p) (X/p), c p p]: row by row, features ordered (c, py, px)."""
    b, c, height, width = latent.shape
    grid = latent.reshape(b, c, height // p, p, width // p, p)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(b, (height // p) * (width // p), c * p * p)


def unpatchify(tokens: Tensor, p: int, c: int, height: int, width: int) -> Tensor:
    """Converts tokens to an image, the inverse of `patchify`: [b, (Y/p) (X/p), c p p] -> [b, c, Y, X]."""
    grid = tokens.reshape(tokens.shape[0], height // p, width // p, c, p, p)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(tokens.shape[0], c, height, width)


def positions(n_text: int, inputs: list[tuple[int, int]], outputs: list[tuple[int, int]]) -> Tensor:
    """Returns the rotary positions (frame, y, x) of the sequence, [n, 3]; frames are given as (rows, columns) of patches.

    Text stands at the origin, input k in frame k and output k in frame -k.
    """
    rows = [(0, 0, 0)] * n_text
    for sign, frames in ((1, inputs), (-1, outputs)):
        for k, (height, width) in enumerate(frames, start=1):
            rows += [(sign * k, y, x) for y in range(height) for x in range(width)]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)


def rotary_angles(position: Tensor, axes_dims: tuple[int, int, int], theta: float) -> Tensor:
    """Returns the angles of the adjacent pairs, [n, 3] -> [n, head_dim / 2], in double precision."""
    angles = []
    for axis, dims in enumerate(axes_dims):
        j = torch.arange(dims // 2, dtype=torch.float64)
        angles.append(position[:, axis : axis + 1] * theta ** (-2 * j / dims))
    return torch.cat(angles, dim=-1)


def rotate(u: Tensor, angles: Tensor) -> Tensor:
    """Rotates the pairs (u0, u1), (u2, u3), ... of [b, h, n, head_dim] by `angles` [n, head_dim / 2]."""
    cos, sin = angles.cos().to(u), angles.sin().to(u)
    even, odd = u[..., 0::2], u[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def time_features(t: Tensor, width: int, like: Tensor) -> Tensor:
    """Returns the sinusoidal timestep embedding f(1000 t) = [cos(s w_j)..., sin(s w_j)...], [b] -> [b, width].

    Double precision until the end: s w_j reaches 1000 radians, where a single-precision product is off by 6e-5.
    """
    half = width // 2
    w = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = 1000.0 * t.double()[:, None] * w
    return torch.cat((angles.cos(), angles.sin()), dim=-1).to(like)


class Attention(nn.Module):
    """Full attention with RMS-normed, rotated queries and keys."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        d = config.hidden_size
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(d, 3 * d)
        self.query_norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps)
        self.key_norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps)
        self.out = nn.Linear(d, d)

    def forward(self, x: Tensor, angles: Tensor, allowed: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = (part.reshape(b, n, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(d, dim=-1))
        q = rotate(self.query_norm(q), angles)
        k = rotate(self.key_norm(k), angles)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(~allowed, float("-inf"))
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    """Attention and a feed-forward layer, each modulated (shift, scale, gate) by a separate vector per token."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        d = config.hidden_size
        inner = round(d * config.mlp_ratio)
        self.eps = config.norm_eps
        self.modulation_offset = nn.Parameter(torch.zeros(6 * d))
        self.attention = Attention(config)
        self.mlp = nn.Sequential(nn.Linear(d, inner), nn.GELU(approximate="tanh"), nn.Linear(inner, d))

    def attention_input(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Returns the input of the block's first linear; `modulation` [b, n, 6 d] is shared by all blocks."""
        shift, scale = (modulation + self.modulation_offset).chunk(6, dim=-1)[:2]
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * (1 + scale) + shift

    def forward(self, x: Tensor, modulation: Tensor, angles: Tensor, allowed: Tensor) -> Tensor:
        _, _, gate1, shift2, scale2, gate2 = (modulation + self.modulation_offset).chunk(6, dim=-1)
        x = x + gate1 * self.attention(self.attention_input(x, modulation), angles, allowed)
        normed = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        return x + gate2 * self.mlp(normed * (1 + scale2) + shift2)


class UniRealTransformer(nn.Module):
    """Predicts the velocity of the noise from one sequence of text, input images and noise."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        d = config.hidden_size
        self.text_in = nn.Linear(config.text_dim, d)
        self.patch_in = nn.Linear(config.patch_dim, d)
        self.input_index = nn.Embedding(config.max_inputs, d)
        self.output_index = nn.Embedding(config.max_outputs, d)
        self.category = nn.Embedding(len(ROLES), d)
        self.time_in = nn.Sequential(nn.Linear(config.frequency_dim, d), nn.SiLU(), nn.Linear(d, d))
        self.clean = nn.Embedding(1, d)
        self.modulation = nn.Linear(d, 6 * d)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_modulation = nn.Linear(d, 2 * d)
        self.patch_out = nn.Linear(d, config.patch_dim)

    def embed_text(self, text: Tensor, image_refs: Tensor) -> Tensor:
        """Embeds text states, [b, n_text, text_dim] -> [b, n_text, d]; `image_refs` [b, n_text] is k for IMGk, -k for RESk, 0 for other tokens."""
        no_index = torch.zeros(1, self.config.hidden_size).to(text)
        table = torch.cat((self.output_index.weight.flip(0), no_index, self.input_index.weight))
        return self.text_in(text) + table[image_refs.long() + self.config.max_outputs]

    def embed(self, text: Tensor, image_refs: Tensor, inputs: list[tuple[Tensor, str]], noise: list[Tensor]) -> Tensor:
        """Returns the sequence before the first block, [b, n, d]: text, inputs in order, noise in order."""
        p = self.config.patch_size
        parts = [self.embed_text(text, image_refs)]
        for index, (latent, role) in enumerate(inputs):
            category = self.category.weight[ROLES.index(role)]
            parts.append(self.patch_in(patchify(latent, p)) + self.input_index.weight[index] + category)
        for index, latent in enumerate(noise):
            parts.append(self.patch_in(patchify(latent, p)) + self.output_index.weight[index])
        return torch.cat(parts, dim=1)

    def embed_time(self, t: Tensor) -> Tensor:
        """Embeds timesteps, [b] -> [b, d]."""
        return self.time_in(time_features(t, self.config.frequency_dim, self.clean.weight))

    def token_modulation(self, t: Tensor, n_clean: int, n_noise: int) -> Tensor:
        """Returns the shared modulation of every token, [b, n, 6 d]. It depends on the timestep for noise tokens only."""
        clean = self.modulation(F.silu(self.clean.weight)).expand(t.shape[0], n_clean, -1)
        noisy = self.modulation(F.silu(self.embed_time(t)))[:, None].expand(-1, n_noise, -1)
        return torch.cat((clean, noisy), dim=1)

    def forward(
        self,
        text: Tensor,
        image_refs: Tensor,
        inputs: list[tuple[Tensor, str]],
        noise: list[Tensor],
        t: Tensor,
        text_mask: Tensor | None = None,
        apart: str = "full",
    ) -> list[Tensor]:
        """Predicts the velocity of every output.

        text [b, n_text, text_dim], image_refs [b, n_text], inputs (latent [b, c, Y, X], role), noise [b, c, Y, X], t [b],
        text_mask [b, n_text] (false: padding, which no token attends to). `apart` is the configuration's `attention`: in "inputs-apart"
        the input images attend only among themselves, in "clean-apart" text and input images only among each other. Returns one
        [b, c, Y, X] for each noise latent.
        """
        p, c = self.config.patch_size, self.config.in_channels
        x = self.embed(text, image_refs, inputs, noise)
        b, n, _ = x.shape
        grids = [[(u.shape[-2] // p, u.shape[-1] // p) for u in frames] for frames in ([u for u, _ in inputs], noise)]
        n_text = text.shape[1]
        n_noise = sum(height * width for height, width in grids[1])
        n_clean = n - n_noise

        allowed = torch.ones(b, 1, n, n, dtype=torch.bool)
        if text_mask is not None:
            allowed[:, :, :, :n_text] &= text_mask.bool()[:, None, None, :]
        if apart == "inputs-apart":
            allowed[:, :, n_text:n_clean, :n_text] = False
            allowed[:, :, n_text:n_clean, n_clean:] = False
        elif apart == "clean-apart":
            allowed[:, :, :n_clean, n_clean:] = False

        angles = rotary_angles(positions(n_text, *grids), self.config.axes_dims, self.config.rope_theta)
        modulation = self.token_modulation(t, n_clean, n_noise)
        for block in self.blocks:
            x = block(x, modulation, angles, allowed)

        shift, scale = self.final_modulation(F.silu(self.embed_time(t)))[:, None].chunk(2, dim=-1)
        x = F.layer_norm(x[:, n_clean:], x.shape[-1:], eps=self.config.norm_eps)
        tokens = self.patch_out(x * (1 + scale) + shift).split([y * x for y, x in grids[1]], dim=1)
        return [unpatchify(frame, p, c, *latent.shape[-2:]) for frame, latent in zip(tokens, noise)]
