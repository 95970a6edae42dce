"""Times training on the CPU and training of the torch twin, in turns; prints lines of JSON for tests/bench/table.mjs.

    python train.py UNIREAL ROUNDS [SHAPE]

SHAPE is a name in SHAPES; all of them by default. Every figure is the median over rounds. Torch runs the twin of the same shape on as
many threads, in f32 and, in its fastest form, under bf16 autocast with torch.compile (`tests/golden/speed.py`).
"""

from __future__ import annotations

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

BINARY, ROUNDS = sys.argv[1], int(sys.argv[2])
SPEED = pathlib.Path(__file__).parent.parent / "golden" / "speed.py"
# Name, options, and whether torch is measured too. The first is the shape of the first shipped model.
SHAPES = [
    ("8 x 192", ["--width", "192", "--heads", "6"], True),
    ("the preset", [], True),
    ("8 x 256", ["--width", "256", "--heads", "4"], False),
    ("8 x 384", ["--width", "384", "--heads", "6"], False),
]


def ours(*options: str) -> dict:
    """Returns the line that `unireal bench train` prints."""
    out = subprocess.run([BINARY, "bench", "train", *options], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def torch(line: dict, *options: str) -> dict:
    """Returns the twin's line for the same shape."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(line, file)
        file.flush()
        command = [sys.executable, str(SPEED), file.name, *options]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def milliseconds(lines: list[dict]) -> float:
    """Returns the median time of a sample in milliseconds."""
    return statistics.median(1e3 / line["samples_per_second"] for line in lines)


def print_row(what: str, against: str, ours: list[dict], other: list[dict]) -> None:
    mine, theirs = milliseconds(ours), milliseconds(other)
    setup = {key: ours[0][key] for key in ("cpu", "instructions", "precision")}
    row = {"what": what, "against": against, "ours_ms": mine, "theirs_ms": theirs, "ratio": theirs / mine}
    print(json.dumps(row | setup), flush=True)


for name, options, peer in SHAPES:
    if sys.argv[3:] and name not in sys.argv[3:]:
        continue
    runs: dict[str, list[dict]] = {}
    for _ in range(ROUNDS):
        line = ours(*options)
        runs.setdefault("ours", []).append(line)
        runs.setdefault("f32", []).append(ours(*options, "--precision", "f32"))
        if peer:
            runs.setdefault("torch f32", []).append(torch(line))
            runs.setdefault("torch bf16", []).append(torch(line, "--bf16"))
        if name == "the preset":
            runs.setdefault("one thread", []).append(ours(*options, "--threads", "1"))
            runs.setdefault("whole step", []).append(ours(*options, "--whole"))
    what = f"training {name}, a sample"
    print_row(what, "itself in f32", runs["ours"], runs["f32"])
    if peer:
        print_row(what, "torch f32", runs["ours"], runs["torch f32"])
        print_row(what, "torch bf16, compiled", runs["ours"], runs["torch bf16"])
    if name == "the preset":
        print_row(f"training {name}, two threads", "one thread", runs["ours"], runs["one thread"])
        print_row(f"training {name}, the whole step", "the transformer alone", runs["whole step"], runs["ours"])
