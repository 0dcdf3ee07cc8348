"""LeRobot's own reader on datasets that were written here; runs in the environment of `.ci/datasets`, without network.

    python .ci/lerobot/judge.py FOLDER

`FOLDER` holds datasets, and beside each, `NAME.npz` with what must be read: `c2w`, `actions` and `frames` of all
episodes, one after another, and their `texts` per frame.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp()  # the reader copies every table into its cache

import numpy as np
import torch

# torchvision's wheel was built for another torch and its operators do not load; LeRobot only wants the import to pass.
_operators = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.aggregate import aggregate_datasets  # noqa: E402
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

VIDEO = "observation.images.main"


def compare(name: str, root: Path, expected: dict[str, np.ndarray], exact: bool) -> None:
    """Read every row."""
    dataset = LeRobotDataset(f"local/{name}", root=root, video_backend="torchcodec")
    count = len(expected["frames"])
    assert len(dataset) == count, (len(dataset), count)
    pose = action = 0.0
    squares = []
    for index in range(count):
        row = dataset[index]
        frame = (row[VIDEO].movedim(0, -1) * 255).round().to(torch.uint8).numpy()
        squares.append(np.mean((frame.astype(float) - expected["frames"][index]) ** 2))
        pose = max(pose, np.abs(row["observation.c2w"].numpy() - expected["c2w"][index]).max())
        action = max(action, np.abs(row["action"].numpy() - expected["actions"][index]).max())
        assert row["task"] == str(expected["texts"][index]), (row["task"], expected["texts"][index])
    worst = max(squares)
    mean, least = (10 * np.log10(255**2 / each) if each else np.inf for each in (np.mean(squares), worst))
    psnr = "exact" if worst == 0 else f"PSNR {mean:.1f} dB, worst frame {least:.1f}"
    print(f"{name}: {dataset.num_episodes} episodes, {count} frames {psnr}, pose error {pose:.1e}, action {action:.1e}")
    assert pose <= 1e-6 and action == 0
    assert worst == 0 if exact else least > 25
    for feature, what in dataset.meta.features.items():
        assert feature in dataset.meta.stats, feature
        if what["dtype"] == "video":
            assert dataset.meta.stats[feature]["mean"].shape == (3, 1, 1)


def main(folder: Path) -> None:
    """Each dataset, and all lossless ones merged by LeRobot."""
    expected = {file.stem: dict(np.load(file)) for file in sorted(folder.glob("*.npz"))}
    assert len(expected) >= 3, expected.keys()
    for name, what in expected.items():
        compare(name, folder / name, what, exact=name.startswith("rgb"))
    merged = [name for name in expected if name.startswith("rgb")]
    aggregate_datasets(
        [f"local/{name}" for name in merged],
        "local/merged",
        roots=[folder / name for name in merged],
        aggr_root=folder / "merged",
    )
    together = {key: np.concatenate([expected[name][key] for name in merged]) for key in expected[merged[0]]}
    compare("merged", folder / "merged", together, exact=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
