"""Writes the golden fixtures from implementations that are independent of the Rust code.

    python tests/golden/reference.py

T5, the autoencoder and the scheduler come from transformers and diffusers, the transformer and its training from
`twin.py`. Weights and inputs are random from fixed seeds and large enough that every parameter shows in the results;
`requirements.txt` pins the versions. Each fixture's metadata holds `config` (JSON, as in a pack) and `notes`.
"""

from __future__ import annotations

import diffusers
import numpy as np
import torch
import transformers
from torch import Tensor

from fixture import randomise, weights, write
from reference_twin import training, transformer

# Text encoder -------------------------------------------------------------------------------------------------------


def text_encoder(name: str, seed: int, length: int, padding: int, **variant: object) -> None:
    """Writes transformers' T5EncoderModel; the second of two samples ends in padding."""
    fields = {
        "vocab_size": 40,
        "d_model": 32,
        "d_kv": 8,
        "num_layers": 2,
        "num_heads": 3,
        **variant,
    }
    model = transformers.T5EncoderModel(transformers.T5Config(**fields, dropout_rate=0.0)).eval()
    randomise(model, seed)
    with torch.no_grad():
        for block in model.encoder.block:
            # T5 does not scale attention scores by the head dimension; smaller queries keep the softmax from being one-hot.
            block.layer[0].SelfAttention.q.weight *= 0.5
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(0, fields["vocab_size"], (2, length), generator=generator)
    mask = torch.ones(2, length)
    mask[1, length - padding :] = 0
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    stored = {key: value for key, value in weights(model).items() if key != "weights.encoder.embed_tokens.weight"}
    notes = "ids [b, n] and mask [b, n] (1: a token, 0: padding) give states [b, n, d], at padding as well"
    tensors = stored | {"ids": ids.int(), "mask": mask, "states": states}
    write(name, tensors, {"config": fields, "notes": notes, "made_by": f"transformers {transformers.__version__}"})


# Autoencoder --------------------------------------------------------------------------------------------------------


def autoencoder(seed: int, **fields: object) -> tuple[diffusers.AutoencoderKL, dict[str, object]]:
    """Returns diffusers' AutoencoderKL and its configuration in a pack."""
    levels = len(fields["block_out_channels"])
    config = {"in_channels": 3, "out_channels": 3, "norm_num_groups": 2, **fields}
    model = diffusers.AutoencoderKL(
        **config,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    ).eval()
    randomise(model, seed)
    return model, config


def picture_and_latent(seed: int, width: int, height: int, channels: int, stride: int) -> tuple[Tensor, Tensor]:
    """Returns an image with values from -1 to 1, and a latent of its encoded size."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 3, height, width, generator=generator) * 2 - 1
    return image, torch.randn(1, channels, height // stride, width // stride, generator=generator)


@torch.no_grad()
def coded(model: diffusers.AutoencoderKL, image: Tensor, latent: Tensor, prefix: str = "") -> dict[str, Tensor]:
    """Encodes an image and decodes a latent."""
    return {
        f"{prefix}picture": image,
        f"{prefix}mean": model.encode(image).latent_dist.mean,
        f"{prefix}latent": latent,
        f"{prefix}decoded": model.decode(latent).sample,
    }


def autoencoders() -> None:
    """Writes the two plain fixtures, and the tiled one with the same weights."""
    full, full_config = autoencoder(
        20,
        block_out_channels=[4, 8],
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        mid_block_add_attention=True,
        use_quant_conv=True,
        use_post_quant_conv=True,
    )
    plain, plain_config = autoencoder(
        21,
        block_out_channels=[4, 6, 8],
        layers_per_block=1,
        latent_channels=3,
        scaling_factor=1.5,
        shift_factor=None,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    with torch.no_grad():
        for part in (plain.encoder.conv_in, plain.decoder.conv_in):
            for parameter in part.parameters():
                parameter *= 0.02  # a variance so small that the first group norm's epsilon of 1e-6 affects the result
    made_by = f"diffusers {diffusers.__version__}"
    notes = (
        "picture [b, 3, y, x] in -1..1 gives mean, the unscaled mean of the posterior; latent, unscaled as well, "
        "gives decoded"
    )
    for name, model, config, size in (
        ("vae.safetensors", full, full_config, (24, 16)),
        ("vae_plain.safetensors", plain, plain_config, (28, 20)),
    ):
        stride = 2 ** (len(config["block_out_channels"]) - 1)
        sample = picture_and_latent(22, *size, config["latent_channels"], stride)
        tensors = weights(model) | coded(model, *sample)
        write(name, tensors, {"config": config, "notes": notes, "made_by": made_by})

    cases, tensors = {}, {}
    for case, model, file, size, sample_tile, overlap in (
        ("a", full, "vae.safetensors", (28, 40), 16, 0.25),
        ("b", plain, "vae_plain.safetensors", (40, 28), 16, 0.5),
        ("c", full, "vae.safetensors", (36, 14), 24, 0.25),
    ):
        stride = 2 ** (len(model.config.block_out_channels) - 1)
        model.enable_tiling()
        model.tile_sample_min_size = sample_tile
        model.tile_latent_min_size = sample_tile // stride
        model.tile_overlap_factor = overlap
        sample = picture_and_latent(23, *size, model.config.latent_channels, stride)
        results = coded(model, *sample, prefix=f"{case}.")
        assert results[f"{case}.mean"].shape == results[f"{case}.latent"].shape, "the overlap is no whole latent cell"
        tensors |= results
        cases[case] = {
            "weights": file,
            "tile_sample_min_size": model.tile_sample_min_size,
            "tile_latent_min_size": model.tile_latent_min_size,
            "tile_overlap_factor": model.tile_overlap_factor,
        }
        model.disable_tiling()
    notes += ", both tiled: see diffusers' _tiled_encode and tiled_decode for the numbers in cases"
    write("vae_tiled.safetensors", tensors, {"cases": cases, "notes": notes, "made_by": made_by})


# Schedule -----------------------------------------------------------------------------------------------------------


def schedules() -> None:
    """Writes diffusers' FlowMatchEulerDiscreteScheduler: the times, and four steps with given velocities."""
    generator = torch.Generator().manual_seed(30)
    tensors, cases = {}, []
    for shift in (1.0, 3.0):
        for n in (1, 4, 20):
            scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
            scheduler.set_timesteps(sigmas=np.linspace(1, 1 / n, n))
            name = f"shift{shift:g}.steps{n}"
            tensors[f"{name}.sigmas"] = scheduler.sigmas
            cases.append({"name": name, "shift": shift, "steps": n, "chain": n == 4})
            if n != 4:
                continue
            chain = [torch.randn(1, 4, 6, 5, generator=generator)]
            velocities = torch.randn(n, 1, 4, 6, 5, generator=generator)
            for t, velocity in zip(scheduler.timesteps, velocities):
                chain.append(scheduler.step(velocity, t, chain[-1]).prev_sample)
            tensors[f"{name}.velocities"] = velocities
            tensors[f"{name}.samples"] = torch.stack(chain)
    notes = "sigmas [steps + 1] end in 0; samples[i + 1] is the Euler step from samples[i] with velocities[i]"
    metadata = {"cases": cases, "notes": notes, "made_by": f"diffusers {diffusers.__version__}"}
    write("schedule.safetensors", tensors, metadata)


if __name__ == "__main__":
    torch.set_num_threads(1)  # with more threads, the order of sums and so the last digits depend on the machine
    text_encoder(
        "t5_v10.safetensors",
        seed=10,
        length=24,
        padding=9,
        d_ff=64,
        feed_forward_proj="relu",
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        layer_norm_epsilon=1e-2,  # large enough to affect the result
    )
    text_encoder(
        "t5_v11.safetensors",
        seed=12,
        length=68,  # distances 16, 32 and 64 fall exactly on boundaries of the logarithmic buckets
        padding=30,
        d_ff=48,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
        layer_norm_epsilon=1e-6,
    )
    autoencoders()
    schedules()
    transformer()
    training()
