"""Stage 2: choosing, resuming, refusing, and one clip against diffusers' own refiner."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sanawm_env.cli.refine import Refine
from sanawm_env.video import write_video
from sanawm_env.world.checkpoints.refiner.attach import find_refiner as find_stream_refiner
from sanawm_env.world.checkpoints.refiner.attach import load_refiner
from sanawm_env.world.checkpoints.refiner.options import RefinerOptions
from sanawm_env.world.offline.clip_recipe import save_latents
from sanawm_env.world.offline.refiner import Refiner, check_memory
from sanawm_env.world.offline.refiner_files import choose, find_refiner, find_rollout

pytest.importorskip("diffusers")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    from tests.world.offline.refiner_fixture import write_refiner

    torch.set_num_threads(1)
    return write_refiner(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def refiner(release):
    return Refiner(find_refiner(release), dtype=torch.float32)


def write_rollout(folder, stem="a", frames=12, height=64, width=96, seed=0, **more):
    clip = np.random.default_rng(seed).integers(0, 255, (frames, height, width, 3), dtype=np.uint8)
    write_video(folder / f"{stem}.mp4", clip, 16)
    recipe = {"format": "sanawm_env.recipe", "frames": frames, "fps": 16.0, "height": height, "width": width}
    (folder / f"{stem}.json").write_text(json.dumps(recipe | more))
    return folder / f"{stem}.json"


def test_stored_latents_are_refined_as_diffusers_does(refiner, tmp_path):
    path = write_rollout(tmp_path)
    latents = torch.randn(1, 8, 3, 2, 3).bfloat16()
    from_video = refiner.refine(find_rollout(path), "a road")
    save_latents(tmp_path / "a_latents.safetensors", latents)
    found = refiner.refine(find_rollout(path), "a road")
    assert found.shape == from_video.shape == (11, 64, 96, 3) and not np.array_equal(found, from_video)
    generator = torch.Generator().manual_seed(42)
    expected = of_diffusers(refiner)(latents, "a road", fps=16.0, generator=generator, output_type="np")
    assert np.abs(found / 255 - expected[:11]).max() < 0.51 / 255 + 1e-6
    assert np.array_equal(found, refiner.refine(find_rollout(path), "a road"))
    assert not np.array_equal(found, refiner.refine(find_rollout(path), "a road", seed=1))
    assert not np.array_equal(found, refiner.refine(find_rollout(path), "rain at night"))


def of_diffusers(refiner):
    """Diffusers' own pipeline of the same files."""
    import diffusers
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    files, options = refiner.files, {"torch_dtype": torch.float32}
    pipe = diffusers.SanaWMLTX2Refiner(
        diffusers.SanaWMLTX2RefinerTransformer3DModel.from_pretrained(files.transformer, **options),
        LTX2TextConnectors.from_pretrained(files.connectors, **options),
        AutoTokenizer.from_pretrained(files.text_encoder),
        Gemma3ForConditionalGeneration.from_pretrained(files.text_encoder, dtype=torch.float32),
        diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0),
        refiner.vae.network,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_streams_read_prompts_alike_and_remember_them(release, refiner, tmp_path, monkeypatch):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))
    found = find_stream_refiner(RefinerOptions(), release)
    text = load_refiner(found, dtype=torch.float32).encode(" a road ")
    assert torch.equal(text, refiner._text("a road")) and not torch.equal(text, refiner._text("rain"))
    assert len(list((tmp_path / "cache" / "prompts").iterdir())) == 1

    def gone(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr("sanawm_env.world.checkpoints.refiner.text.HiddenStates", gone)
    again = load_refiner(found, dtype=torch.float32)
    assert torch.equal(again.encode("a road"), text) and again.encode("a road") is again.encode("a road")
    with pytest.raises(AssertionError, match="encoded again"):
        again.encode("rain")
    other = tmp_path / "gemma-2"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "gemma2"}')
    (other / "model.safetensors").write_bytes(b"")
    wrong = find_stream_refiner(RefinerOptions(text_encoder=other), release)
    with pytest.raises(ValueError, match="reads 'gemma3'"):
        load_refiner(wrong, dtype=torch.float32).encode("a road")


def test_layers_may_visit_one_by_one(release, refiner, tmp_path):
    rollout = find_rollout(write_rollout(tmp_path))
    expected = refiner.refine(rollout, "a road")
    streamed = Refiner(find_refiner(release), dtype=torch.float32)
    streamed.transformer.stream_layers("cpu")
    assert np.array_equal(streamed.refine(rollout, "a road"), expected)


@pytest.mark.parametrize(
    ("change", "message"), [({"frames": 1}, "2 frames or more"), ({"height": 48}, "multiples of 32")]
)
def test_unfit_clips(refiner, tmp_path, change, message):
    rollout = find_rollout(write_rollout(tmp_path, **change))
    with pytest.raises(ValueError, match=message):
        refiner.refine(rollout, "")


def test_damaged_latents(refiner, tmp_path):
    path = write_rollout(tmp_path)
    (tmp_path / "a_latents.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="holds no latents"):
        refiner.refine(find_rollout(path), "")
    save_latents(tmp_path / "a_latents.safetensors", torch.zeros(1, 4, 3, 2, 3))
    with pytest.raises(ValueError, match="the refiner takes"):
        refiner.refine(find_rollout(path), "")


def test_command_resumes_and_leaves_nothing_half_written(release, tmp_path, capsys, monkeypatch):
    for stem, seed in (("a", 0), ("b", 1), ("c", 2)):
        write_rollout(tmp_path, stem, frames=9, seed=seed, prompt="a road")
    rows = [{"recipe": f"{stem}.json", "psnr": psnr} for stem, psnr in (("a", 3.0), ("b", 1.0), ("c", 2.0))]
    scores = tmp_path / "scores.jsonl"
    scores.write_text("\n".join(map(json.dumps, rows)) + "\n")
    options = {"refiner": release, "scores": scores, "best": 2, "by": "psnr", "device": "cpu", "dtype": "float32"}
    real, calls = Refiner.refine, []

    def interrupted(self, rollout, *arguments):
        calls.append(rollout.video.stem)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, rollout, *arguments)

    monkeypatch.setattr(Refiner, "refine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Refine(**options).run()
    assert calls == ["a", "c"]
    written = {path.name for path in tmp_path.iterdir() if "refined" in path.name}
    assert written == {"a_refined.mp4", "a_refined.json"}
    Refine(**options).run()
    assert calls == ["a", "c", "c"] and "1 of 2 rollouts are refined already" in capsys.readouterr().out
    record = json.loads((tmp_path / "c_refined.json").read_text())
    assert record["prompt"] == "a road" and record["frames"] == 8
    before = (tmp_path / "c_refined.mp4").stat().st_mtime_ns
    Refine(**options).run()
    assert len(calls) == 3 and (tmp_path / "c_refined.mp4").stat().st_mtime_ns == before
    Refine(**options | {"best": 1, "seed": 7}).run()
    assert len(calls) == 4, "another seed is another result"


def test_choose(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text('{"video": "a.mp4", "x": 1}\n\n{"recipe": "b.json", "x": 3}\n{"recipe": "c.json", "x": 1}\n')
    assert choose(path, 2, "x") == [tmp_path / "b.json", tmp_path / "a.mp4"]
    assert choose(path, 2, "x", lowest=True) == [tmp_path / "a.mp4", tmp_path / "c.json"]
    for best, field, message in ((0, "x", "choose 1 to 3"), (4, "x", "choose 1 to 3"), (1, "y", "line 1")):
        with pytest.raises(ValueError, match=message):
            choose(path, best, field)
    for line in ("not json", '{"x": 1}', '{"recipe": "a.json", "x": NaN}', '{"recipe": "a.json", "x": true}', "[]"):
        path.write_text(line)
        with pytest.raises(ValueError, match="line 1"):
            choose(path, 1, "x")
    with pytest.raises(FileNotFoundError, match="no score file"):
        choose(tmp_path / "none", 1, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rollouts": ()}, "name rollouts, or give --scores"),
        ({"scores": Path("s")}, "one of the two"),
        ({"best": 1}, "give --scores too"),
        ({"rollouts": (), "scores": Path("s")}, "--best, how many"),
        ({"seed": -1}, "--seed"),
        ({"rollouts": (Path("nowhere.json"),)}, "side by side"),
        ({"refiner": Path("nowhere")}, "no whole refiner, it lacks transformer"),
        ({"offload": "model"}, "there is none in use"),
    ],
)
def test_bad_options(release, tmp_path, change, message):
    given = {"refiner": release, "rollouts": (write_rollout(tmp_path),), "device": "cpu"} | change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Refine(**given).run()
    assert not list(tmp_path.glob("*refined*"))


def test_a_json_that_is_no_recipe(tmp_path):
    path = write_rollout(tmp_path)
    for text in ("{}", "[]", "no json", '{"format": "sanawm_env.recipe"}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="is no recipe"):
            find_rollout(path)


def test_not_enough_memory_is_said_before_loading(release, monkeypatch):
    files = find_refiner(release)
    need = files.bytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (max(need.values()) + 1, 0))
    gpu = torch.device("cuda")
    with pytest.raises(MemoryError, match="use --offload model"):
        check_memory(files, gpu, "none")
    check_memory(files, gpu, "model")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 0))
    with pytest.raises(MemoryError, match="use --offload sequential"):
        check_memory(files, gpu, "model")
    check_memory(files, gpu, "sequential")


def test_example_searches_and_what_it_writes_can_be_chosen_from(tmp_path, capsys):
    import runpy

    from sanawm_env.world.checkpoints.local import save_checkpoint
    from sanawm_env.world.model import WorldModel

    world = WorldModel.untrained()
    save_checkpoint(tmp_path / "small", world.config, world.transformer.state_dict(), world.vae.state_dict())
    example = Path(__file__).parents[3] / "examples" / "search_then_refine.py"
    main = runpy.run_path(str(example))["main"]
    main(out=tmp_path / "search", count=2, best=1, actions="w-5", checkpoint=str(tmp_path / "small"), max_drift=1.0)
    said = capsys.readouterr().out
    assert "2 rollouts of 11 frames" in said and "2 useful" in said and "nothing refined" in said
    (path,) = choose(tmp_path / "search" / "scores.jsonl", 1, "revisit_db")
    assert find_rollout(path).recipe["frames"] == 11
