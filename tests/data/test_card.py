import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from sanawm_env.data import Episode, EpisodeRecipe
from sanawm_env.data.card import write_card
from sanawm_env.data.formats import lerobot


def episode(seed, checkpoint="tiny", policy="scripted:orbit", text="go | there"):
    count = 9
    recipe = EpisodeRecipe(
        checkpoint=checkpoint,
        checkpoint_hash="0123abcd",
        checkpoint_name=checkpoint,
        env={},
        seed=seed,
        options={},
        image=None,
        start={"scene_seed": seed, "noise_seed": 2, "intrinsics": [60.0, 60.0, 15.5, 15.5], "goal": None},
        actions=[[0.0] * 6] * 2,
        policy=policy,
        frames=count,
        frames_per_step=4,
        size=(32, 32),
        fps=16.0,
        digests=[],
        frames_sha256="",
        depends_on={},
    )
    return Episode(
        [np.full((count, 32, 32, 3), 40 * seed, np.uint8)],
        np.tile(np.eye(4), (count, 1, 1)),
        np.array([60, 60, 15.5, 15.5]),
        (32, 32),
        frames_per_step=4,
        actions=np.zeros((2, 6), np.float32),
        rewards=np.ones(2),
        success=seed > 0,
        text=text,
        recipe=recipe.to_dict(),
    )


def parts(path):
    _, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_says_what_the_hub_and_people_want_to_know(tmp_path):
    ds = tmp_path / "zwei Räume"
    lerobot.write(ds, [episode(0), episode(1), episode(2, policy="random-smooth")])
    file = ds / "sanawm" / "episodes" / "000002.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    values["outcome"] |= {"kept": False, "reasons": ["drift: too blurred"]}
    file.write_text(json.dumps(values), encoding="utf-8")
    lerobot.index(ds)
    front, body = parts(write_card(ds))
    assert front["license"] == "apache-2.0" and front["task_categories"] == ["robotics"]
    assert {"LeRobot", "sanawm", "world-model"} == set(front["tags"]) and front["pretty_name"] == "zwei Räume"
    (config,) = front["configs"]
    assert [path.name for path in ds.glob(config["data_files"])] == ["file-000.parquet"]
    for words in (
        "2 kept, 1 dropped",
        "18 frames at 16 fps",
        "1 of 2 (50%)",
        "| drift | 1 |",
        "go \\| there",
        "`tiny`, hash `0123abcd`: 2 episodes",
        "`scripted:orbit` (2)",
        "OpenCV",
        "sanawm replay",
        "Known limits",
    ):
        assert words in body, words
    assert lerobot.check(ds) == []


def test_the_licence_of_other_worlds_is_not_guessed(tmp_path):
    lerobot.write(tmp_path / "ds", [episode(0, "Efficient-Large-Model/SANA-WM")])
    front, body = parts(write_card(tmp_path / "ds"))
    assert front["license"] == "other" and "NVIDIA" in body and "Apache" not in body


def test_other_datasets_get_no_card(tmp_path):
    with pytest.raises(ValueError, match="this package only"):
        write_card(Path(tmp_path))
    assert not list(tmp_path.iterdir())
