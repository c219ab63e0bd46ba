"""Merging needs the memory of one output file and one tensor."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sft_tradeoff.models.folder import weight_files

MB = 1 << 20
# --- memory: six shards of four tensors of 8 MB each, on both sides ---------------------------

N_SHARDS, SHARD_MB, TENSOR_MB, SLACK_MB = 6, 32, 8, 3
LIMITED = """
import os, resource, sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from sft_tradeoff.training.merge import merge_folders
from sft_tradeoff.models.build import weight_files

def memory(kind):
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status[kind].split()[0]) * 1024

anonymous = []

def interpolate(initial, trained):
    in_float32 = initial.float()
    result = in_float32.lerp(trained, 0.5)
    anonymous.append(memory("RssAnon"))
    return result

def all_results(base, trained, out):
    kept = []
    def combine(*pair):
        kept.append(interpolate(*pair))
        return kept[-1]
    merge_folders(base, trained, out, combine)

def all_weights(base, trained, out):
    initial, final = ({n: t for f in weight_files(folder) for n, t in load_file(f).items()}
                      for folder in (base, trained))
    merged = {n: interpolate(initial[n], final[n]) for n in final}

def streamed(base, trained, out):
    merge_folders(base, trained, out, interpolate)

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
streamed(folder / "tiny", folder / "tiny", folder / "first")  # allocations of any first call
for build in (streamed, all_results, all_weights):
    child = os.fork()
    if not child:
        limit, before = limit + memory("VmData"), memory("RssAnon")
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        try:
            build(folder / "base", folder / "trained", folder / "out")
        except Exception as error:
            print(build.__name__, "refused:", error, flush=True)
            os._exit(1)
        print(build.__name__, "done:", max(anonymous) - before, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def plain_folder(out: Path, n_shards: int, mega_bytes: float, dtype: torch.dtype) -> Path:
    """A model folder by hand: four tensors a shard, of the given size each in float32."""
    out.mkdir()
    (out / "config.json").write_text('{"dtype": "none"}')
    tensor = torch.full((int(mega_bytes * MB) // 4,), 0.25, dtype=dtype)
    weight_map = {}
    for shard in range(n_shards):
        names = [f"layer.{shard}.{i}" for i in range(4)]
        save_file({n: tensor.clone() for n in names}, out / f"part-{shard}.safetensors")
        weight_map |= dict.fromkeys(names, f"part-{shard}.safetensors")
    (out / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return out


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux only")
def test_memory_is_one_shard_and_one_tensor(tmp_path: Path) -> None:
    """The kernel refuses more: one output shard (32 MB), one tensor (8 MB), 3 MB of slack.

    RLIMIT_DATA also counts the *mapped* files, though the kernel can drop their pages at will: all
    of θ0 (6 · 16 MB in bfloat16) and the one trained shard that is open (32 MB); 171 MB together.
    Keeping every result needs 149 MB more than that, and loading everything 480 MB in all.
    What is resident and anonymous is read as well, where it peaks: while a tensor is combined.
    """
    plain_folder(tmp_path / "tiny", 2, 0.01, torch.float32)
    base = plain_folder(tmp_path / "base", N_SHARDS, TENSOR_MB, torch.bfloat16)
    plain_folder(tmp_path / "trained", N_SHARDS, TENSOR_MB, torch.float32)
    mapped = sum(p.stat().st_size for p in weight_files(base)) + SHARD_MB * MB
    contract = (SHARD_MB + TENSOR_MB + SLACK_MB) * MB
    # glibc may keep freed blocks of up to 32 MB; tensors of real models are larger.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(MB)}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path, str(mapped + contract)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    verdicts = done.stdout.splitlines()
    assert verdicts[0].startswith("streamed done:"), verdicts
    assert (SHARD_MB - TENSOR_MB) * MB < int(verdicts[0].split()[-1]) < contract, verdicts
    assert len(weight_files(tmp_path / "out")) == N_SHARDS
    for line, build in zip(verdicts[1:], ("all_results", "all_weights"), strict=True):
        assert line.startswith(f"{build} refused:") and "memory" in line, verdicts
    shutil.rmtree(tmp_path)  # half a gigabyte


# --- the stage ---------------------------------------------------------------------------------
