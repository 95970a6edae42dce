"""Reads shards by the Python loader `webdataset` and prints a line per sample: key, JSON, SHA-256 of each image's pixels.

    pip install webdataset pillow numpy; python tests/data/read_shards.py SHARD...
"""

import hashlib
import io
import json
import sys

import numpy
import webdataset
from PIL import Image

for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False):
    images = {}
    for name, data in sorted(sample.items()):
        if name.endswith(".png"):
            pixels = numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()
            images[name[: -len(".png")]] = [pixels.shape[1], pixels.shape[0], digest]
    print(json.dumps({"key": sample["__key__"], "json": json.loads(sample["json"]), "pictures": images}))
