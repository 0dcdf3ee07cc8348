"""`sanawm doctor`: plans without a GPU, without loading and without a network."""

import json
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
import tyro

import sanawm_env.cli.doctor.report as doctor
from sanawm_env import SanaWMVectorEnv, WorldModel
from sanawm_env.cli.common.probe import black_start
from sanawm_env.cli.doctor.command import Doctor
from sanawm_env.cli.doctor.plan import STATES_MADE, MemoryPlan, most_slots, plan_memory, weight_bytes
from sanawm_env.cli.doctor.report import diagnose, find_config
from sanawm_env.world.accel.device import PRECISIONS, Device, look_at, unsupported
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.checkpoints.presets import RELEASES, release_config
from sanawm_env.world.config import small_config
from sanawm_env.world.networks.transformer import SanaWMTransformer

STREAMING = "Efficient-Large-Model/SANA-WM_streaming"


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network, no cache of the Hub, and no weights read."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_, **__: pytest.fail("the network was used"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def no_load(monkeypatch):
    monkeypatch.setattr(WorldModel, "load", lambda *_, **__: pytest.fail("a checkpoint was loaded"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a file was read"))


def report(*arguments, capsys):
    """Through the command line's parser, as JSON."""
    tyro.cli(Doctor, args=[*arguments, "--json"]).run()
    return json.loads(capsys.readouterr().out)


# -- the plan of the release --------------------------------------------------------------------------------


def test_the_issues_own_command(no_load, capsys):
    tyro.cli(Doctor, args=["--checkpoint", STREAMING, "--device", "cuda:80GB"]).run()
    text = capsys.readouterr().out
    for part in (
        "a GPU of 80 GB (not here: a plan only)", "1280x704", "sana_dit/", "gemma-2-2b-it", "to fetch", "torch",
        "extra       release", "bf16", "nvfp4", "published: H100", "bf16 with 1 slot needs", "fits", "computed",
    ):  # fmt: skip
        assert part in text


def test_json(no_load, capsys):
    found = report("-c", STREAMING, "--device", "cuda:80GB", "--slots", "3", capsys=capsys)
    plans = {(plan["precision"], plan["slots"]): plan for plan in found["memory"]["plans"]}
    assert plans.keys() == {(p, n) for p in PRECISIONS for n in (1, 2, 3, 4, 8)}
    one = plans["bf16", 1]
    # docs/model.md, "Sizes": 2.66 B parameters, 838,432,000 bytes of cache; the decoder's tails come on top.
    assert one["weights"] == pytest.approx(2 * 2.6618e9, rel=1e-3)
    assert one["state_per_slot"] == pytest.approx(838_432_000 + 595_189_761, rel=0.01)
    assert one["fits"] is True and one["missing"] == 0 and plans["fp32", 8]["fits"] is False
    assert found["chosen"]["slots"] == 3 and found["chosen"]["precision"] == "bf16"
    assert {entry["kind"] for entry in found["speed"]} == {"published", "computed"}
    assert found["speed"][0]["frames_per_s"] == pytest.approx(961 / 55, abs=0.1)
    # 3.0 PFLOP for a minute (docs/model.md, "Benchmark"), 989 TFLOP/s.
    assert found["speed"][-1]["frames_per_s"] == pytest.approx(961 * 989e12 / 3.07e15, rel=0.02)
    assert found["download"]["known_gb"] > 10 and found["device"]["hypothetical"] is True
    assert set(found["memory"]["basis"]) == {"weights, VAE, state", "working", "text enc", "needed"}


def test_precisions_order_weights_and_leave_the_state():
    config = release_config("streaming")
    sizes = {p: weight_bytes(config, p) for p in PRECISIONS}
    assert sizes["fp32"] == 2 * sizes["bf16"]
    # fp8 leaves out layers whose sides are no multiples of 16: beta and gate.
    assert sizes["nvfp4"] < sizes["int8"] < sizes["fp8"] < sizes["bf16"]
    # By hand, per block qkv, proj, output gate; beta and gate; cross-attention; two of the feed-forward.
    c, h = 2240, 20
    linears = 20 * (5 * c * c + 2 * h * c + 4 * c * c + 9 * c * c)
    assert sizes["bf16"] - sizes["fp8"] == pytest.approx(linears, rel=3e-3)  # a scale per row
    plans = [plan_memory(config, p, 2, gpu=True) for p in ("bf16", "fp8")]
    assert plans[0].state_per_slot == plans[1].state_per_slot


def test_the_kept_figures_of_the_vae_are_diffusers():
    pytest.importorskip("diffusers", reason="diffusers (extra `release`) is not installed")
    from benchmarks.worlds.memory_trace import trace_decode
    from sanawm_env.cli.doctor.plan import RELEASE_VAE, RELEASE_WORKING

    found = trace_decode(22, 40, torch.bfloat16, 3)
    assert {name: found[name] for name in ("parameters", "context")} | {"tails": found["tail_bytes"] // 2 // 880} == (
        RELEASE_VAE
    )
    assert {name: found[name] for name in ("decode", "compact decode")}.items() <= RELEASE_WORKING.items()


@pytest.mark.parametrize("kind", [None, "fp8"])
def test_the_stand_in_for_the_releases_vae_remembers_as_much(kind):
    """At a tenth of the release's size, where the real state can be made on the meta device."""
    pytest.importorskip("diffusers", reason="diffusers (extra `release`) is not installed")
    from sanawm_env.world.networks.vae.ltx import LTXVideoVAE
    from sanawm_env.world.state.empty import empty_state

    config = release_config().replace(height=128, width=224)
    with torch.device("meta"):
        vae = LTXVideoVAE().to(torch.bfloat16)
    state = empty_state(
        config, vae, "", 1, device="meta", dtype=torch.bfloat16, text_length=300, state_precision=kind
    )  # fmt: skip
    plan = plan_memory(config, "bf16", gpu=True, state_precision=kind)
    assert plan.state_per_slot == state.nbytes
    assert plan.vae == sum(value.nbytes for value in (*vae.parameters(), *vae.buffers()))


def test_half_the_memory(no_load):
    plain, small = (diagnose(STREAMING, "cuda:80GB", state_precision=kind, measure=False) for kind in (None, "fp8"))
    assert small["chosen"]["state_per_slot"] < 500e6 < plain["chosen"]["state_per_slot"] / 2.5
    assert "states in fp8" in small["verdict"] and "states in" not in plain["verdict"]
    assert small["chosen"]["weights"] == plain["chosen"]["weights"]
    most = [int(found["verdict"].split("up to ")[1].split()[0]) for found in (plain, small)]
    assert most[1] > 2 * most[0]


def test_not_enough_memory_says_how_much_and_what_would_fit(no_load):
    def verdict(device, precision="bf16", slots=1):
        return diagnose(STREAMING, device, precision, [slots], measure=False)["verdict"]

    config = release_config("streaming")
    need = {p: plan_memory(config, p, 1, gpu=True).needed for p in PRECISIONS}
    between = (need["fp8"] + need["bf16"]) / 2e9
    text = verdict(f"cuda:{between:.3f}GB")
    assert f"{(need['bf16'] / 1e9 - between):.1f} GB missing" in text and "fp8 or nvfp4 or int8 would fit" in text
    assert "no precision would fit: take a device with more memory" in verdict("cuda:2GB")
    assert "fits up to" in verdict("cuda:24GB", slots=32) and "slots" in verdict("cuda:24GB", slots=32)
    encoding = plan_memory(config, "bf16", 1, gpu=True)
    if encoding.encoding > encoding.running:
        assert "encode prompts on the CPU" in verdict(f"cuda:{(encoding.running + 1e6) / 1e9:.3f}GB")


def test_most_slots_is_the_edge():
    config, device = release_config("streaming"), look_at("cuda:80GB")
    plan = plan_memory(config, "bf16", gpu=True)
    most = most_slots(plan, device.memory)
    assert replace(plan, slots=most).needed <= device.memory < replace(plan, slots=most + 1).needed
    assert most_slots(plan, 10**9) == 0


def test_sums_of_a_plan():
    plan = MemoryPlan("bf16", None, 3, 100, 10, 7, 5, 6, 50, 1, together=True, decode_together=True)
    states = int((1 + STATES_MADE) * 3 * 7)
    assert plan.working == 3 * 6 and replace(plan, decode_together=False).working == 3 * 5
    assert plan.running == 100 + 10 + 1 + states + 3 * 6 and plan.encoding == 100 + 10 + 1 + 3 * 7 + 50
    in_turns = replace(plan, text_encoder=0, reserve=0, together=False, decode_together=False)
    assert in_turns.running == 110 + states + 6 and in_turns.encoding == 0


@pytest.mark.parametrize("repo", RELEASES)
def test_every_release_has_a_plan(repo, no_load):
    found = diagnose(repo, "cuda:80GB", measure=False)
    assert found["checkpoint"]["release"] == repo and found["download"]["files"] and found["speed"]
    assert any("ltx2_causal_vae" in file["path"] for file in found["download"]["files"])


def test_a_revision_and_what_the_hub_cache_has(offline, no_load):
    snapshot = offline / "models--Efficient-Large-Model--SANA-WM_streaming" / "snapshots" / "abc" / "sana_dit"
    snapshot.mkdir(parents=True)
    found = diagnose(f"{STREAMING}@abc", "cpu", measure=False)
    assert found["checkpoint"]["revision"] == "abc"
    assert [file["present"] for file in found["download"]["files"]] == [True, False, False]
    more = diagnose(f"{STREAMING}@abc", "cpu", refiner=True, measure=False)["download"]["files"]
    assert [file["path"] for file in more][3:] == ["refiner_diffusers/", "gemma3_12b/"]


def test_a_local_release_folder_needs_no_download(tmp_path, no_load):
    for place, repo in (("sana_dit", STREAMING), ("dit", "Efficient-Large-Model/SANA-WM_bidirectional")):
        folder = tmp_path / place
        (folder / place).mkdir(parents=True)
        config, source = find_config(str(folder))
        assert source["release"] == repo and source["folder"] == str(folder) and config.height == 704


def test_release_on_this_cpu(no_load):
    found = diagnose(STREAMING, "cpu")
    refused = {plan["precision"] for plan in found["memory"]["plans"] if plan["unsupported"]}
    assert refused == {"fp8", "nvfp4"}


# -- small worlds -------------------------------------------------------------------------------------------


def test_tiny_is_measured_and_its_state_is_exact():
    found = diagnose("tiny", "cpu", slots=[1])
    (speed,) = found["speed"]
    assert speed["kind"] == "measured" and speed["frames_per_s"] > 0
    assert found["download"]["files"] == [] and found["chosen"]["precision"] == "fp32"
    model = WorldModel.load("tiny")
    exact = model._empty(1, "meta").nbytes
    assert found["chosen"]["state_per_slot"] == exact
    assert found["chosen"]["weights"] == sum(value.nbytes for value in model.transformer.state_dict().values())
    assert found["chosen"]["vae"] == sum(value.nbytes for value in model.vae.state_dict().values())


@pytest.mark.parametrize(("name", "kind"), [("small", None), ("tiny", None), ("tiny", "int8")])
def test_the_planned_state_is_the_real_one(name, kind):
    """`small` also carries its first frame, as a picture and as disparity."""
    world = WorldModel.load(name, state_precision=kind)
    plan = plan_memory(world.config, "fp32", gpu=False, state_precision=kind)
    assert plan.state_per_slot == black_start(world).nbytes


@pytest.mark.parametrize("batched", [False, True])
def test_the_plan_covers_a_step_in_which_slots_begin_anew(batched):
    from benchmarks.worlds.memory_trace import peak_live_bytes

    world, slots = WorldModel.load("tiny", batched=batched), 4
    envs = SanaWMVectorEnv(slots, world, max_episode_steps=2)
    envs.reset(seed=1)
    envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": np.arange(slots) == slots - 1})
    envs.step(envs.action_space.sample())  # all but the last slot are at their ends
    peak = peak_live_bytes(lambda: envs.step(envs.action_space.sample()))
    plan = plan_memory(world.config, "fp32", slots, gpu=False)
    working = max(plan.denoising, plan.decoding) * (slots if batched else 1)
    assert peak > slots * plan.state_per_slot  # a step makes more than one new state
    assert peak <= STATES_MADE * slots * plan.state_per_slot + working
    assert plan.running == plan.weights + plan.vae + int((1 + STATES_MADE) * slots * plan.state_per_slot) + (
        plan.working
    )


def test_own_folder_is_planned_from_its_config_alone(tmp_path, no_load):
    model = WorldModel.untrained()
    folder = tmp_path / "world"
    save_checkpoint(folder, model.config, model.transformer.state_dict(), model.vae.state_dict())
    (folder / "model.safetensors").unlink()
    found = diagnose(str(folder), "cpu", measure=False)
    assert found["chosen"]["state_per_slot"] == model._empty(1, "meta").nbytes
    assert found["speed"][0]["kind"] == "unknown"


def test_a_world_with_text_counts_its_encoder():
    config = small_config()
    text = config.replace(model=config.model.replace(caption_channels=12, text_length=6))
    assert plan_memory(config, "fp32", 1, gpu=False).text_encoder == 0
    assert plan_memory(text, "fp32", 1, gpu=False).text_encoder > 5e9


def test_working_memory_grows_with_the_traced_one():
    """The plan's scaling by tokens and width against a fresh trace of another size."""
    from benchmarks.worlds.memory_trace import trace_transformer
    from sanawm_env.cli.doctor.plan import MARGIN

    config = release_config().replace(height=352, width=640)
    config = config.replace(model=config.model.replace(hidden_size=448, depth=4))
    peak = trace_transformer(config.model, (11, 20), torch.bfloat16, frames=4, depth=4)
    assert 0.4 < plan_memory(config, "bf16", gpu=True).denoising / MARGIN / peak < 2.5


def test_live_bytes_are_counted_to_the_byte():
    from benchmarks.worlds.memory_trace import peak_live_bytes

    def run():
        a = torch.zeros(100)  # 400
        b = a * 2  # 800
        del a
        c = b[:10]  # a view
        d = c + 1  # 440
        return d

    assert peak_live_bytes(run) == 800


# -- devices and refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "memory", "generation"),
    [
        ("cuda:80GB", 80 * 10**9, None),
        ("cuda:79.6GiB", int(79.6 * 2**30), None),
        ("cuda:32gb:blackwell", 32 * 10**9, "blackwell"),
    ],
)
def test_gpus_that_are_elsewhere(text, memory, generation):
    found = look_at(text)
    assert (found.kind, found.memory, found.generation, found.hypothetical) == ("cuda", memory, generation, True)


def test_devices_of_this_machine():
    assert look_at("cpu").memory > 1e8
    if not torch.cuda.is_available():
        assert look_at("auto").kind == "cpu"
        with pytest.raises(ValueError, match="torch sees 0 CUDA GPUs; plan for one that is elsewhere"):
            look_at("cuda")


@pytest.mark.parametrize("text", ["gpu", "cuda:80", "cuda:80TB", "cuda:GB", "", "tpu:8", "cuda:-1GB", "cuda:0GB"])
def test_unknown_devices(text):
    with pytest.raises(ValueError, match=r"unknown device|is not here|has no memory") as error:
        look_at(text)
    assert "cuda:80GB" in str(error.value)


def test_unknown_generation():
    with pytest.raises(ValueError, match="unknown GPU generation 'kepler'; use one of volta"):
        look_at("cuda:8GB:kepler")


@pytest.mark.parametrize(
    ("precision", "device", "message"),
    [
        ("nvfp4", "cuda:80GB:hopper", "NVFP4 came with Blackwell; use fp32 or bf16 or fp8 or int8"),
        ("fp8", "cuda:80GB:ampere", "FP8 came with Hopper"),
        ("bf16", "cuda:16GB:turing", "bfloat16 products came with Ampere; use fp32 or int8"),
        ("fp8", "cpu", "needs a CUDA GPU; use fp32 or bf16 or int8"),
        ("fp7", "cpu", "unknown precision 'fp7'; use one of fp32"),
    ],
)
def test_precisions_that_the_device_cannot(precision, device, message):
    with pytest.raises(ValueError, match=message):
        diagnose(STREAMING, device, precision, measure=False)


def test_an_unknown_generation_is_a_proviso_not_a_refusal(capsys):
    tyro.cli(Doctor, args=["-c", STREAMING, "--device", "cuda:80GB", "--no-measure"]).run()
    text = capsys.readouterr().out
    assert "yes, if Hopper or newer" in text and "yes, if Blackwell or newer" in text
    assert unsupported("nvfp4", Device("cuda", "new", 1, "blackwell")) is None


def test_unknown_checkpoints(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"unknown checkpoint 'nothing'; use a built-in name \(small, small-reflect, tiny\)"
    ):
        diagnose("nothing", "cpu")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        diagnose(str(tmp_path), "cpu")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json.*again"):
        diagnose(str(tmp_path), "cpu")


def test_slots_below_one():
    with pytest.raises(ValueError, match="slots must be at least 1"):
        diagnose("tiny", "cpu", slots=[0])


def test_missing_extras_name_the_command(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name == "transformers" else "1.0")
    Doctor(STREAMING, "cuda:80GB", measure=False).run()
    assert 'transformers missing, huggingface_hub 1.0  (pip install "sanawm_env[release]")' in capsys.readouterr().out


def test_shapes_of_the_plan_are_the_models():
    config = small_config()
    with torch.device("meta"):
        model = SanaWMTransformer(config.model)
    assert weight_bytes(config, "fp32") == sum(value.nbytes for value in model.state_dict().values())
