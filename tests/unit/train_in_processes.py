"""Train several runs in this process group and save each one's weights; started by torchrun."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from sft_tradeoff.models import load_model
from sft_tradeoff.runs import RunConfig
from sft_tradeoff.tokenization import TokenizedData
from sft_tradeoff.trainer import Trainer


def main(folder: Path, model: Path) -> None:
    data = TokenizedData.load(folder / "train.npz")
    reference = np.load(folder / "reference.npy")
    for label, config in json.loads((folder / "configs.json").read_text()).items():
        torch.manual_seed(0)
        run = RunConfig.model_validate(config)
        trainer = Trainer(run, load_model(model, torch.float32), data, 0, reference)
        assert trainer.accelerator.num_processes == 2
        trainer.run()
        if trainer.accelerator.is_main_process:
            saved = {"masters": trainer.weights.state(), "log": trainer.log}
            torch.save(saved, folder / f"{label}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
