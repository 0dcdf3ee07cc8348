"""LeRobot's own training script on a dataset that was written here: a small ACT policy, whose loss must fall.

python .ci/lerobot_train.py DATASET STEPS
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp()
# The main environment's wants another huggingface-hub than the one here; LeRobot does without it.
sys.modules["transformers"] = None  # type: ignore[assignment]

import torch  # noqa: E402

# As in lerobot_judge.py: torchvision's operators do not load, and nobody calls them.
_operators = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.scripts import lerobot_train  # noqa: E402

del sys.modules["transformers"]  # datasets looks whether it was imported

EVERY = 10
"""Steps of which the trainer logs the mean loss."""
TAIL = 3
"""So many logged means are compared at either end."""


class Losses(logging.Handler):
    """What the trainer logs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take the loss out of a line such as `step:50 smpl:100 ... loss:0.693 ...`."""
        if found := re.search(r"\bloss:([\d.]+)", record.getMessage()):
            self.seen.append(float(found[1]))


def main(dataset: str, steps: int) -> None:
    """Train, and compare the first losses to the last ones."""
    options = {
        "dataset.repo_id": "local/dataset",
        "dataset.root": dataset,
        "dataset.video_backend": "torchcodec",
        "policy.type": "act",
        "policy.device": "cpu",
        "policy.push_to_hub": "false",
        "policy.pretrained_backbone_weights": "null",
        "policy.dim_model": 32,
        "policy.dim_feedforward": 64,
        "policy.n_heads": 4,
        "policy.n_encoder_layers": 1,
        "policy.use_vae": "false",
        "policy.chunk_size": 12,
        "policy.n_action_steps": 12,
        "policy.optimizer_lr": 1e-3,
        "policy.optimizer_lr_backbone": 1e-4,
        "steps": steps,
        "batch_size": 2,
        "num_workers": 0,
        "log_freq": EVERY,
        "eval_freq": 0,
        "save_checkpoint": "false",
        "wandb.enable": "false",
        "output_dir": os.path.join(tempfile.mkdtemp(), "out"),
    }
    sys.argv = ["lerobot-train", *(f"--{name}={value}" for name, value in options.items())]
    losses = Losses()
    set_up = lerobot_train.init_logging

    def with_losses(*arguments: object, **named: object) -> None:
        set_up(*arguments, **named)  # removes all handlers first
        logging.getLogger().addHandler(losses)

    lerobot_train.init_logging = with_losses
    lerobot_train.main()
    first, last = (sum(part) / TAIL for part in (losses.seen[:TAIL], losses.seen[-TAIL:]))
    print(f"LeRobot's trainer, ACT, {steps} steps of 2: loss {first:.3f} -> {last:.3f}; all: {losses.seen}")
    assert len(losses.seen) == steps // EVERY and last < 0.8 * first


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
