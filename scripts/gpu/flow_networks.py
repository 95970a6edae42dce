"""Implements a fast forward pass of the torch twin's text encoder and transformer (tests/golden/twin.py), and the losses of the flow stages."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel

from flow_data import Draw
from twin import TransformerConfig, UniRealTransformer, rotary_angles

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
    """Repeats the elements of the first axis, without waiting for the device as `repeat_interleave` does."""
    return x[:, None].expand(-1, count, *x.shape[1:]).flatten(0, 1)


def apply_block(x, modulation, table, hidden, kv_cache, weights, heads: int, eps: float, dtype: torch.dtype, last: bool):
    """Applies a block to clean or to noise tokens x [b, n, d], which also attend to the keys and values in `kv_cache`.

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
    keys, values = (k, v) if kv_cache is None else (torch.cat((kv_cache[0], k), 2), torch.cat((kv_cache[1], v), 2))
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
        self.apply_block = apply_block
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

    def set_index_rows(self, size: int, tokenizer) -> None:
        """Stores the row of the index embedding of every token id (IMGk, RESk)."""
        config = self.config
        table = torch.zeros(size, dtype=torch.long)
        for k in range(config.max_inputs):
            table[tokenizer.token_to_id(f"IMG{k + 1}")] = 1 + k
        for k in range(config.max_outputs):
            table[tokenizer.token_to_id(f"RES{k + 1}")] = 1 + config.max_inputs + k
        self.register_buffer("index_rows", table, persistent=False)

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
        parts = [network.text_in(states.float()) + chosen(self.index_rows[draw.ids], index)]
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
        area = changed.sum(1, keepdim=True)
        weight = 0.5 * torch.where(changed > 0, 1 / area.clamp(min=1), 1 / (changed.shape[1] - area).clamp(min=1))
        entropy = F.binary_cross_entropy_with_logits(logits, changed, reduction="none")
        return (entropy * weight).sum(1) * known * t

    def run(self, x, modulation, table, hidden, kv_cache, weights, last=False):
        # Compile once for all batch sizes and sequence lengths.
        for tensor, axes in ((x, [0, 1]), (hidden, [0, 1]), *((part, [0]) for part in table), *((part, [0, 2]) for part in kv_cache or ())):
            torch._dynamo.maybe_mark_dynamic(tensor, axes)
        if len(modulation) > 1:
            torch._dynamo.maybe_mark_dynamic(modulation, 0)
        heads, eps = self.config.num_attention_heads, self.config.norm_eps
        return self.apply_block(x, modulation, table, hidden, kv_cache, weights, heads, eps, self.dtype, last)

    def losses(self, draw: Draw, stage: dict, draws: int, times) -> tuple[Tensor, Tensor]:
        """Returns the training loss and the reported loss, [b] each: flow losses averaged over `draws` noise draws, or grounding losses."""
        network, x = self.transformer, self.clean(draw)
        (b, n_text), n_clean, device = draw.ids.shape, x.shape[1], x.device
        tokens = draw.outputs[0].shape[1]
        side = math.isqrt(tokens)
        n_in, n_out, middle = len(draw.inputs), len(draw.outputs), len(network.blocks) // 2
        hidden = torch.zeros(b, n_clean, EXTRA, dtype=self.dtype, device=device)
        hidden[:, :n_text, 0] = torch.where(draw.present, 0.0, HIDDEN)
        clean_modulation = network.modulation(F.silu(network.clean.weight))[None]  # [1, 1, 6 d]
        table = self.table(n_text, n_in, 0, side)
        blocks = self.blocks()
        if draw.grounding_only:
            for weights in blocks[:middle]:
                x, _, _ = self.run(x, clean_modulation, table, hidden, None, weights)
            reported = self.grounding_losses(x[:, n_text : n_text + tokens], draw, 1.0)
            return reported * stage["grounding"], reported
        t = times(b * draws).to(device)
        target = repeat(torch.cat(draw.outputs, 1), draws)
        noise = torch.randn_like(target)
        noisy = target + (noise - target) * t[:, None, None]
        index = repeat(network.output_index.weight[:n_out], tokens)
        y = network.patch_in(noisy) + index
        time = self.time(t)
        noise_modulation = network.modulation(time)[:, None]
        out_table = self.table(0, 0, n_out, side)
        not_hidden = torch.zeros(b * draws, n_out * tokens, EXTRA, dtype=self.dtype, device=device)
        for i, weights in enumerate(blocks):
            x, k, v = self.run(x, clean_modulation, table, hidden, None, weights, last=i + 1 == len(blocks))
            y, _, _ = self.run(y, noise_modulation, out_table, not_hidden, (repeat(k, draws), repeat(v, draws)), weights)
            if i + 1 == middle and stage["grounding"] > 0:
                grounded = self.grounding_losses(y[:, :tokens], draw, t)
        shift, scale = network.final_modulation(time)[:, None].chunk(2, dim=-1)
        velocity = network.patch_out(F.layer_norm(y, y.shape[-1:], eps=self.config.norm_eps) * (1 + scale) + shift)
        weight = 1 + (stage["edit_region_weight"] - 1) * draw.changed
        weight = repeat((weight / weight.mean(1, keepdim=True)).repeat(1, n_out), draws)
        reported = ((velocity - (noise - target)).square().mean(-1) * weight).mean(1)
        total = reported + stage["grounding"] * grounded if stage["grounding"] > 0 else reported
        return total.reshape(b, draws).mean(1), reported.reshape(b, draws).mean(1)
