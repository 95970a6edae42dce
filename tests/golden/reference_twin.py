"""Writes the fixtures of the torch twin: the transformer and ten steps of its training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fixture import randomise, weights, write
from twin import TransformerConfig, UniRealTransformer

TRANSFORMER = {
    "in_channels": 4,
    "patch_size": 2,
    "hidden_size": 24,
    "num_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2.25,
    "text_dim": 16,
    "axes_dims": [4, 2, 6],
    "rope_theta": 100.0,
    "max_inputs": 3,
    "max_outputs": 2,
    "frequency_dim": 16,
    "norm_eps": 1e-2,  # large enough to affect the result
}

# `image_refs` has k for IMGk, -k for RESk, 0 for other tokens. Sizes are (y, x) in latent cells.
CASES = {
    "a": {"image_refs": [[0, 0, -1, 0, 0]], "inputs": [], "outputs": [(4, 6)]},
    "b": {
        "image_refs": [[0, 1, 0, 2, -2, 0, 0]],
        "inputs": [("canvas", (4, 6)), ("control", (2, 4))],
        "outputs": [(4, 6), (6, 2)],
    },
    "c": {
        "image_refs": [[0, 1, 0, 2, -2, 0, 0]],
        "inputs": [("canvas", (4, 6)), ("control", (2, 4))],
        "outputs": [(4, 6), (6, 2)],
        "inputs_apart": True,
    },
    "d": {
        "image_refs": [[1, 0, 3, 0, -1, 2], [0, 2, 0, 0, 0, 0]],
        "text_lengths": [6, 3],
        "inputs": [("asset", (2, 2)), ("canvas", (4, 4)), ("control", (4, 4))],
        "outputs": [(4, 4)],
        "t": [0.75, 0.125],
    },
    "e": {"image_refs": [[1, 0]], "inputs": [("asset", (2, 4))], "outputs": [(2, 4)], "t": [0.9375]},
    "f": {"image_refs": [[1, 0]], "inputs": [("asset", (2, 4))], "outputs": [(2, 4)], "t": [0.0625], "data_of": "e"},
}


def twin(dtype: torch.dtype = torch.float32) -> UniRealTransformer:
    """Returns the small transformer with its fixed weights."""
    config = TransformerConfig(**TRANSFORMER | {"axes_dims": tuple(TRANSFORMER["axes_dims"])})
    model = UniRealTransformer(config)
    randomise(model, 40)
    return model.to(dtype)


def case_arguments(name: str, dtype: torch.dtype = torch.float32) -> dict[str, object]:
    """Returns the twin's arguments for one of `CASES`."""
    case = CASES[name]
    generator = torch.Generator().manual_seed(41 + ord(case.get("data_of", name)))
    image_refs = torch.tensor(case["image_refs"], dtype=torch.int32)
    b, n_text = image_refs.shape
    channels = TRANSFORMER["in_channels"]

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    lengths = torch.tensor(case.get("text_lengths", [n_text] * b))
    return {
        "text": normal(b, n_text, TRANSFORMER["text_dim"]),
        "image_refs": image_refs,
        "inputs": [(normal(b, channels, *size), role) for role, size in case["inputs"]],
        "noise": [normal(b, channels, *size) for size in case["outputs"]],
        "t": torch.tensor(case.get("t", [0.375] * b), dtype=dtype),
        "text_mask": torch.arange(n_text)[None] < lengths[:, None] if "text_lengths" in case else None,
        "apart": "inputs-apart" if case.get("inputs_apart") else "full",
    }


def case_tensors(name: str, arguments: dict[str, object], velocities: list[Tensor]) -> dict[str, Tensor]:
    """Returns a case's arguments and results under its name."""
    # The fixture's name of the image references is "words".
    tensors = {"text": arguments["text"], "words": arguments["image_refs"], "t": arguments["t"]}
    if arguments["text_mask"] is not None:
        tensors["text_mask"] = arguments["text_mask"].float()
    tensors |= {f"input.{i}": latent for i, (latent, _) in enumerate(arguments["inputs"])}
    tensors |= {f"noise.{i}": latent for i, latent in enumerate(arguments["noise"])}
    tensors |= {f"velocity.{i}": velocity for i, velocity in enumerate(velocities)}
    return {f"{name}.{key}": value.clone() for key, value in tensors.items()}


def geometry(name: str) -> dict[str, object]:
    """Returns a case for the metadata."""
    case = CASES[name]
    return {
        "inputs": [{"role": role, "y": y, "x": x} for role, (y, x) in case["inputs"]],
        "outputs": [{"y": y, "x": x} for y, x in case["outputs"]],
        "text_mask": "text_lengths" in case,
        "inputs_apart": case.get("inputs_apart", False),
    }


class AllTokensTimed(UniRealTransformer):
    """A wrong model, in which text and input tokens depend on the timestep too."""

    def token_modulation(self, t: Tensor, n_clean: int, n_noise: int) -> Tensor:
        return super().token_modulation(t, 0, n_clean + n_noise)


@torch.no_grad()
def time_rule(model: UniRealTransformer) -> dict[str, Tensor]:
    """Checks with cases e and f, which differ in t only, that before attention only noise tokens depend on it. Returns their modulation."""
    tensors, modulated = {}, {}
    for name in ("e", "f"):
        arguments = case_arguments(name)
        x = model.embed(arguments["text"], arguments["image_refs"], arguments["inputs"], arguments["noise"])
        n_noise = 2
        modulation = model.token_modulation(arguments["t"], x.shape[1] - n_noise, n_noise)
        modulated[name] = model.blocks[0].attention_input(x, modulation)
        tensors |= {f"{name}.modulation": modulation, f"{name}.attention_input": modulated[name]}
    difference = (modulated["e"] - modulated["f"]).abs().amax(dim=-1)[0]
    assert (difference[:-n_noise] == 0).all(), "text or input tokens depend on the time"
    assert (difference[-n_noise:] > 0.1).all(), "noise tokens do not depend on the time"

    timed = AllTokensTimed(model.config)
    timed.load_state_dict(model.state_dict())
    for name in ("e", "f"):
        arguments = case_arguments(name)
        change = (model(**arguments)[0] - timed(**arguments)[0]).abs().max().item()
        assert change > 0.1, f"case {name} cannot tell a model that gives every token the time"
    return tensors


def transformer() -> None:
    """Writes the transformer's fixture."""
    model, double = twin(), twin(torch.float64)
    tensors, loss = weights(model), 0.0
    for name in CASES:
        arguments = case_arguments(name)
        velocities = model(**arguments)
        exact = double(**case_arguments(name, torch.float64))
        error = max((v - e).abs().max().item() for v, e in zip(velocities, exact))
        assert error < 2e-5, f"case {name} loses {error} to single precision: too sensitive for a bar of 1e-4"
        size = max(v.abs().max().item() for v in velocities)
        print(f"  case {name}: single against double precision {error:.1e}, largest velocity {size:.2f}")
        loss = loss + sum(v.square().mean() for v in velocities)
        for option, off in (("text_mask", None), ("apart", "full")):
            if isinstance(arguments[option], Tensor) or arguments[option] not in (None, "full"):
                without = model(**arguments | {option: off})
                change = max((v - w).abs().max().item() for v, w in zip(velocities, without))
                print(f"  case {name}: {option} changes {change:.2f}")
                assert change > 0.01, f"{option} of case {name} hardly matters"
        tensors |= case_tensors(name, arguments, velocities)
    loss.backward()
    for name, parameter in model.named_parameters():
        weakest = parameter.grad.abs().min().item()
        assert weakest > 0, f"an element of {name} changes nothing in any case"
    tensors |= time_rule(model)
    notes = (
        "weights once; per case: text [b, n, text_dim], words [b, n] (k: IMGk, -k: RESk, 0: neither), input.i and "
        "noise.i [b, c, y, x], t [b], text_mask [b, n] (0: padding), velocity.i. inputs_apart: input images attend "
        "only among themselves. e and f differ in t alone: modulation [b, n, 6 d] is what each token gets before the "
        "block's offset, attention_input [b, n, d] what the qkv linear of block 0 reads; sequence order"
    )
    metadata = {"config": TRANSFORMER, "cases": {name: geometry(name) for name in CASES}, "notes": notes}
    write("transformer.safetensors", tensors, metadata | {"made_by": f"torch {torch.__version__}, twin.py"})


# Training -----------------------------------------------------------------------------------------------------------

OPTIMIZER = {"lr": 1e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01}
CLIP = 3.3
"""About the median of the ten norms. AdamW is invariant to a constant factor on all gradients, so the limit has an effect only if
some steps are clipped and others are not."""
STEPS = 10
IMAGE_REFS = [1, 0, -1]
"""IMG1, another token and RES1."""
AFTER = ("clean.weight", "input_index.weight", "patch_out.weight", "blocks.1.modulation_offset", "time_in.2.bias")
"""Parameters to compare after the last step, which are more sensitive to the weight decay than the losses."""


def training_data() -> dict[str, Tensor]:
    """Returns tensors of shape [STEPS, b, ...]. The target depends on input and text, so that there is something to learn."""
    generator = torch.Generator().manual_seed(50)
    b, c = 4, TRANSFORMER["in_channels"]
    source = torch.randn(STEPS, b, c, 4, 4, generator=generator)
    text = torch.randn(STEPS, b, len(IMAGE_REFS), TRANSFORMER["text_dim"], generator=generator)
    return {
        "x0": 0.5 * source.flip(-1) + text[:, :, 1, :c, None, None],
        "eps": torch.randn(STEPS, b, c, 4, 4, generator=generator),
        "t": torch.rand(STEPS, b, generator=generator) * 0.96 + 0.02,
        "text": text,
        "input": source,
    }


def train(
    dtype: torch.dtype, clip: float = CLIP, learn: bool = True, **changes: object
) -> tuple[Tensor, Tensor, nn.Module]:
    """Runs ten steps of flow matching. Returns the losses before each step, the gradients' global norms and the model after the last."""
    model = twin(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), **OPTIMIZER | changes)
    data = {name: value.to(dtype) for name, value in training_data().items()}
    losses, norms = [], []
    for step in range(STEPS):
        x0, eps, t, text, source = (data[name][step] for name in ("x0", "eps", "t", "text", "input"))
        image_refs = torch.tensor([IMAGE_REFS]).expand(len(t), -1)
        mix = t[:, None, None, None]
        (velocity,) = model(text, image_refs, [(source, "canvas")], [(1 - mix) * x0 + mix * eps], t)
        loss = (velocity - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).detach())
        losses.append(loss.detach())
        if learn:
            optimizer.step()
    return torch.stack(losses), torch.stack(norms), model


def training() -> None:
    """Writes the training fixture, which starts from the weights of transformer.safetensors."""
    losses, norms, model = train(torch.float32)

    def distance(run: tuple[Tensor, Tensor, nn.Module]) -> tuple[float, float]:
        """Returns the largest relative difference of a loss and the largest absolute difference of a parameter in the fixture."""
        moved = [(model.get_parameter(name) - run[2].get_parameter(name)).abs().max().item() for name in AFTER]
        return ((losses - run[0]).abs() / losses).max().item(), max(moved)

    rounding = distance(train(torch.float64))
    print("  rounding moves losses by {:.1e}, parameters by {:.1e}".format(*rounding))
    assert rounding[0] < 1e-5 and rounding[1] < 5e-6, "too sensitive for bars of 1e-3 and 5e-5"
    for what, run in {
        "not learning": train(torch.float32, learn=False),
        "not clipping": train(torch.float32, clip=1e9),
        "clipping by half": train(torch.float32, clip=CLIP / 2),
        "other betas": train(torch.float32, betas=(0.9, 0.999)),
        "no weight decay": train(torch.float32, weight_decay=0.0),
    }.items():
        change = distance(run)
        print(f"  {what} moves losses by {change[0]:.1e}, parameters by {change[1]:.1e}")
        assert change[1] > 1e-4, f"{what} would pass a bar of 5e-5"
    assert 3 <= (norms > CLIP).sum() <= 7, "about half of the steps are to be clipped"
    print("  losses", [round(value, 5) for value in losses.tolist()])
    after = {f"after.{name}": value for name, value in model.state_dict().items() if name in AFTER}
    tensors = training_data() | {"losses": losses, "gradient_norms": norms} | after
    notes = (
        "weights of transformer.safetensors; x0, eps, t, text, input are [step, b, ...]; one canvas input, one output, "
        "the words given in words for every sample; loss = mean((v - (eps - x0))^2), AdamW on every parameter after "
        "clipping by the global norm, no schedule; losses and gradient_norms [step] are from before the step, after.* "
        "are some parameters after the last step"
    )
    metadata = {"config": TRANSFORMER, "weights": "transformer.safetensors", "optimizer": OPTIMIZER, "clip": CLIP}
    metadata |= {"words": IMAGE_REFS, "role": "canvas", "notes": notes, "made_by": f"torch {torch.__version__}, twin.py"}
    write("training.safetensors", tensors, metadata)
