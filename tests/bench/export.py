"""Exports the cases of `scripts/bench browser` from the torch twin: for each a checkpoint for `unireal pack`, the same network as ONNX
for onnxruntime-web, and one set of arguments with the velocity that both must find.

    python export.py PACK OUT

PACK is a pack of f16 weights; OUT gets a folder for each case.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from packs import UniRealTransformer, read_config, transformer, twin_of
import twin  # packs adds it to sys.path

# Opsets of the peer: the newer has attention and RMS norm as operations, the older composes them of basic ones.
OPSETS = {"opset23": 23, "opset20": 20}


def attention(self: twin.Attention, x: Tensor, angles: Tensor, allowed: Tensor | None) -> Tensor:
    """Computes the twin's attention by torch's operation, which the exporter supports."""
    b, n, d = x.shape
    q, k, v = (part.reshape(b, n, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(d, dim=-1))
    q = twin.rotate(self.query_norm(q), angles)
    k = twin.rotate(self.key_norm(k), angles)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    return self.out(y.transpose(1, 2).reshape(b, n, d))


def time_features(t: Tensor, width: int, like: Tensor) -> Tensor:
    """Computes the twin's timestep embedding in single precision, the only one of onnxruntime's WebGPU provider."""
    half = width // 2
    w = 10000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = 1000.0 * t[:, None] * w
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class Step(nn.Module):
    """Evaluates the velocity once: a prompt, a canvas, one output."""

    def __init__(self, model: UniRealTransformer, n_text: int, side: int, masked: bool):
        super().__init__()
        self.model = model
        self.masked = masked
        grid = (side // model.config.patch_size,) * 2
        position = twin.positions(n_text, [grid], [grid])
        self.register_buffer("angles", twin.rotary_angles(position, model.config.axes_dims, model.config.rope_theta).float())

    def forward(self, text: Tensor, mask: Tensor, source: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Takes text [b, n, k], mask [b, n] (0 for padding), source and noise [b, c, y, x], t [b]."""
        model = self.model
        image_refs = torch.zeros(text.shape[:2], dtype=torch.int64)
        x = model.embed(text, image_refs, [(source, "canvas")], [noise])
        b, n, _ = x.shape
        n_noise = (n - text.shape[1]) // 2
        allowed = None
        if self.masked:
            seen = torch.cat((mask > 0.5, torch.ones(b, n - text.shape[1], dtype=torch.bool)), dim=1)
            allowed = seen[:, None, None].expand(b, 1, n, n)
        modulation = model.token_modulation(t, n - n_noise, n_noise)
        for block in model.blocks:
            x = block(x, modulation, self.angles, allowed)
        shift, scale = model.final_modulation(F.silu(model.embed_time(t)))[:, None].chunk(2, dim=-1)
        x = F.layer_norm(x[:, -n_noise:], x.shape[-1:], eps=model.config.norm_eps)
        return twin.unpatchify(model.patch_out(x * (1 + scale) + shift), model.config.patch_size, noise.shape[1], *noise.shape[2:])


def block(pack: Path) -> tuple[dict, UniRealTransformer]:
    """Returns a block of width 512 with random weights that f16 represents exactly."""
    config = read_config(pack) | {
        "hidden_size": 512, "num_layers": 1, "num_attention_heads": 8, "axes_dims": [16, 24, 24], "patch_size": 2,
    }
    torch.manual_seed(7)
    model = twin_of(config)
    for parameter in model.parameters():
        scale = 0.02 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
        parameter.data = (torch.randn_like(parameter) * scale).half().float()
    for norm in (module for module in model.modules() if isinstance(module, nn.RMSNorm)):
        norm.weight.data.fill_(1.0)
    return config, model


def export(name: str, network: tuple[dict, UniRealTransformer], pack: Path, out: Path, b: int, n_text: int, cells: int) -> dict:
    config, model = network
    folder = out / name
    checkpoint = folder / "checkpoint"
    shutil.copytree(pack, checkpoint, dirs_exist_ok=True)
    shutil.rmtree(checkpoint / "transformer")
    (checkpoint / "transformer").mkdir()
    (checkpoint / "transformer/config.json").write_text(json.dumps(config))
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, checkpoint / "transformer/model.safetensors")

    torch.manual_seed(8)
    c = config["in_channels"]
    step = Step(model, n_text, cells, masked=b > 1).eval()
    lengths = torch.tensor([n_text] + [n_text // 2] * (b - 1))
    arguments = {
        "text": torch.randn(b, n_text, config["text_dim"]),
        "mask": (torch.arange(n_text)[None] < lengths[:, None]).float(),
        "source": torch.randn(b, c, cells, cells),
        "noise": torch.randn(b, c, cells, cells),
        "t": torch.full((b,), 0.625),
    }
    with torch.no_grad():
        velocity = step(**arguments)
    save_file({key: value.contiguous() for key, value in (arguments | {"velocity": velocity}).items()}, folder / "step.safetensors")

    variants = []
    for variant, opset in OPSETS.items():
        path = folder / f"{variant}.onnx"
        program = torch.onnx.export(
            step, tuple(arguments.values()), input_names=list(arguments), output_names=["velocity"], opset_version=opset,
            dynamo=True, optimize=True, verbose=False,
        )
        onnx.save(program.model_proto, path)
        optimised = folder / f"{variant}-optimised.onnx"
        options = onnxruntime.SessionOptions()
        # Higher levels emit operations that only the CPU provider has.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimised)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        used = {argument.name for argument in session.get_inputs()}
        found = session.run(None, {key: value.numpy() for key, value in arguments.items() if key in used})[0]
        worst = float((torch.from_numpy(found) - velocity).abs().max())
        assert worst < 1e-3, f"{name} {variant}: onnxruntime is {worst} away from torch"
        variants += [path.name, optimised.name]
        operations = sorted({node.op_type for node in onnx.load(optimised).graph.node})
        print(f"{name} {variant}: {worst:.1e} from torch; {', '.join(operations)}", file=sys.stderr)
    grid = (cells // config["patch_size"]) ** 2
    return {"name": name, "batch": b, "tokens": n_text + 2 * grid, "width": config["hidden_size"], "layers": config["num_layers"], "onnx": variants}


def main() -> None:
    pack, out = Path(sys.argv[1]), Path(sys.argv[2])
    twin.Attention.forward = attention
    twin.time_features = time_features
    cases = [
        export("block", block(pack), pack, out, b=1, n_text=56, cells=44),
        # Two branches of guidance: the prompt and the empty prompt, padded to one length.
        export("step", transformer(pack), pack, out, b=2, n_text=40, cells=8),
    ]
    (out / "cases.json").write_text(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
