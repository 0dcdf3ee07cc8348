"""Depth models of transformers, tiny random ones."""

import json
import pickle

import numpy as np
import pytest

from sanawm_env import Depth, SanaWMEnv, SanaWMVectorEnv, WorldModel

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORLD = WorldModel.untrained()


def save(folder, kind):
    """A Depth Anything of a few thousand weights, whose output depends on the picture."""
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14, out_indices=[1, 2],
        apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=16, reassemble_factors=[2, 1],
        neck_hidden_sizes=[8, 16], fusion_hidden_size=8, head_hidden_size=8, depth_estimation_type=kind, max_depth=20,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.DepthAnythingForDepthEstimation(config)
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    processor = transformers.DPTImageProcessorPil(
        size={"height": 28, "width": 42}, keep_aspect_ratio=True, ensure_multiple_of=14
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    return save(tmp_path_factory.mktemp("metric"), "metric")


def test_a_folder_is_a_source(metric):
    arguments = {"sensors": Depth(source=metric), "obs_size": (16, 28)}
    env, envs = SanaWMEnv(WORLD, **arguments), SanaWMVectorEnv(3, WORLD, **arguments)
    observation, info = env.reset(seed=1)
    assert info["depth"].shape == (WORLD.config.height, WORLD.config.width)
    assert 0 <= info["depth"].min() < info["depth"].max() - 1
    observations, infos = envs.reset(seed=0)
    assert np.array_equal(observations["depth"][1], observation["depth"])
    assert np.array_equal(infos["depth"][1], info["depth"])
    assert not np.array_equal(infos["depth"][0], infos["depth"][1])


def test_the_network_is_loaded_once_and_not_pickled(metric, monkeypatch):
    loaded = []
    load = transformers.DepthAnythingForDepthEstimation.from_pretrained
    monkeypatch.setattr(
        transformers.DepthAnythingForDepthEstimation,
        "from_pretrained",
        lambda *args, **kwargs: loaded.append(args) or load(*args, **kwargs),
    )
    env = SanaWMEnv(WORLD, sensors=Depth(source=str(metric)))
    _, info = env.reset(seed=0)
    env.step([0, 0, 1, 0, 0, 0])
    env.fork(2)[1].step([0, 0, 1, 0, 0, 0])
    SanaWMVectorEnv.of(env, 2, exact=False).step([[0, 0, 1, 0, 0, 0]] * 2)
    assert len(loaded) == 1
    twin = pickle.loads(pickle.dumps(env))
    assert len(loaded) == 2
    _, again = twin.reset(seed=0)
    assert np.array_equal(again["depth"], info["depth"])


def test_relative_depth_is_no_depth(tmp_path):
    folder = save(tmp_path, "relative")
    with pytest.raises(ValueError, match=r"gives relative depth, without a unit; use a model that gives metres"):
        SanaWMEnv(WORLD, sensors=Depth(source=folder))


@pytest.mark.parametrize(
    ("kind", "says"), [("dpt", "gives relative depth"), ("chmv2", "not known to give depth in metres")]
)
def test_other_kinds_are_refused_before_weights_are_read(tmp_path, kind, says):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(ValueError, match=says):
        SanaWMEnv(WORLD, sensors=Depth(source=tmp_path))


def test_damaged_folders(metric, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder with a config\.json"):
        SanaWMEnv(WORLD, sensors=Depth(source=tmp_path))
    config, weights = (metric / "config.json").read_bytes(), (metric / "model.safetensors").read_bytes()
    (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(ValueError, match="damaged or incomplete"):
        SanaWMEnv(WORLD, sensors=Depth(source=tmp_path))
    (tmp_path / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        SanaWMEnv(WORLD, sensors=Depth(source=tmp_path))
    from safetensors.torch import load, save_file

    some = {name: value for name, value in load(weights).items() if "head" not in name}
    save_file(some, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "preprocessor_config.json").write_bytes((metric / "preprocessor_config.json").read_bytes())
    with pytest.raises(ValueError, match=r"lacks 6 tensors, first head\.conv1\.bias"):
        SanaWMEnv(WORLD, sensors=Depth(source=tmp_path))
