"""The release's benchmark runs on the CPU at toy size: the same code, figures that mean nothing."""

import json

import pytest
import torch

from benchmarks.speed import release_speed
from benchmarks.speed.release_speed import Args, main, measure
from benchmarks.worlds import release_chunks, release_modules
from sanawm_env.world.accel.flops import chunk_flops

SMALL = ["--size", "small", "--chunks", "2", "--warmup-chunks", "1", "--device", "cpu", "--dtype", "float32"]


def test_all_phases_and_diffusers_beside(capsys, tmp_path):
    pytest.importorskip("diffusers", reason="diffusers (extra `release`) is not installed")
    out = tmp_path / "new" / "speed.json"
    main([*SMALL, "--slots", "1", "2", "--out", str(out)])
    captured = capsys.readouterr()
    found = json.loads(captured.out.strip().splitlines()[-1])
    assert found == json.loads(out.read_text()) and [p.name for p in out.parent.iterdir()] == [out.name]
    assert "warm-up" in captured.err and found["warmup_s"] > 0
    config, _, (rows, columns) = release_modules.configs("small")
    assert found["flops_per_chunk"] == chunk_flops(config, config.chunk_frames, (rows, columns))
    one, two = found["results"]["1"], found["results"]["2"]
    for row in (one, two):
        assert all(row[f"{name}_ms"] > 0 for name in ("denoise", "commit", "decode", "first_chunk"))
        assert len(row["chunk_ms_all"]) == 2 and row["chunk_p95_over_p50"] >= 1
        assert row["clip_s"] > row["clip_stage1_s"] > 39e-3 * row["denoise_ms"]
        assert row["mfu"] is None and row["peak_bytes"] is None
    assert one["state_bytes"] == two["state_bytes"] > 0
    beside = found["diffusers"]
    assert beside["latent_frames_3"]["ours_ms"] > 0 and beside["latent_frames_13"]["diffusers_ms"] > 0
    assert found["machine"]["versions"]["torch"] and found["machine"]["hardware"]["cpu"]


def test_a_size_that_does_not_fit_is_said_and_the_others_go_on(monkeypatch):
    run = release_chunks.denoise

    def limited(net, x, *rest):
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nmore")
        return run(net, x, *rest)

    monkeypatch.setattr(release_chunks, "denoise", limited)
    arguments = {"size": "small", "chunks": 1, "warmup_chunks": 0, "device": "cpu", "dtype": "float32"}
    found = measure(Args(slots=(1, 2), diffusers=False, decode=False, **arguments))["results"]
    assert found["1"]["chunk_ms"] > 0 and found["2"] == {"error": "CUDA out of memory. Tried to allocate 9 GiB"}


def test_other_ways_beside_eager_in_one_run(monkeypatch):
    """Fused ways come last, for weights stay fused; each way runs what it says."""
    order, way = [], release_speed.another_way

    def noted(name, args, net, *rest):
        order.append((name, any(block.attn.fused for block in net.blocks)))
        return way(name, args, net, *rest)

    monkeypatch.setattr(release_speed, "another_way", noted)
    arguments = {"size": "small", "chunks": 1, "warmup_chunks": 2, "device": "cpu", "dtype": "float32"}
    also = ("fused+captured", "fused", "captured", "compiled")
    settings = {"diffusers": False, "decode": False, "also": also, "compile_backend": "eager"}
    found = measure(Args(slots=(1,), **settings, **arguments))
    assert order == [("captured", False), ("compiled", False), ("fused+captured", False), ("fused", True)]
    eager = found["results"]["1"]
    assert eager["program_bytes"] is None and eager["stage1_ms"] >= eager["denoise_ms"]
    assert found["also"].keys() == set(also)
    for name, one in found["also"].items():
        row = one["results"]["1"]
        assert one["warmup_s"] > 0 and row["stage1_ms"] > 0 and row.keys() == eager.keys()
        assert row["state_bytes"] == eager["state_bytes"]
        assert (row["denoise_ms"] is None) == (row["program_bytes"] is not None) == ("captured" in name)


def test_a_way_that_does_not_run_is_said_and_the_others_go_on():
    arguments = {"size": "small", "chunks": 1, "warmup_chunks": 0, "device": "cpu", "dtype": "float32"}
    settings = {"diffusers": False, "decode": False, "also": ("compiled", "fused"), "compile_backend": "nonsense"}
    found = measure(Args(slots=(1,), **settings, **arguments))
    assert "nonsense" in found["also"]["compiled"]["error"]
    assert found["results"]["1"]["stage1_ms"] > 0 and found["also"]["fused"]["results"]["1"]["stage1_ms"] > 0


def test_a_captured_chunk_is_the_samplers():
    """The program that is timed gives latents and cache of the loop that is timed."""
    from sanawm_env.world.networks.cache import empty_cache
    from sanawm_env.world.sampler import denoise_chunk
    from sanawm_env.world.schedules import RELEASE_SIGMAS

    config, _, grid = release_modules.configs("small")
    torch.manual_seed(0)
    where = (torch.device("cpu"), torch.float32)
    net = release_modules.randomly(lambda: release_modules.transformer(config), *where)
    programs, cache = release_chunks.make_programs(where[0]), empty_cache(config, 1, 12)
    for frames, filled in ((4, 0), (3, 4), (3, 7), (3, 7)):
        conditions = release_modules.chunk_conditions(config, 1, frames, grid, *where)
        x = torch.randn(1, 8, frames, *grid)
        clean = (torch.arange(4) == 0)[None] if not filled else None
        with torch.no_grad():
            expected, after = denoise_chunk(net, x, cache, RELEASE_SIGMAS, clean=clean, filled=filled, **conditions)
        program, values = release_chunks.recorded_program(programs, net, x, cache, filled, clean, conditions)
        latents, cache = program.denoise(values, cache)
        assert torch.equal(latents, expected)
        assert all(torch.equal(value, after.flat()[name]) for name, value in cache.flat().items())
    assert len(programs) == 3


def test_the_loop_is_the_samplers():
    """What is timed computes what the environment computes."""
    from sanawm_env.world.networks.cache import empty_cache
    from sanawm_env.world.sampler import denoise_chunk
    from sanawm_env.world.schedules import RELEASE_SIGMAS

    config, _, grid = release_modules.configs("small")
    torch.manual_seed(0)
    where = (torch.device("cpu"), torch.float32)
    net = release_modules.randomly(lambda: release_modules.transformer(config), *where)
    conditions = release_modules.chunk_conditions(config, 1, 3, grid, *where)
    x, cache = torch.randn(1, 8, 3, *grid), empty_cache(config, 1, 12)
    with torch.no_grad():
        expected, _ = denoise_chunk(net, x, cache, RELEASE_SIGMAS, **conditions)
        found = release_chunks.denoise(net, x, cache, RELEASE_SIGMAS, None, conditions)
    torch.testing.assert_close(found, expected)
    assert expected.isfinite().all() and not torch.equal(expected, x)


@pytest.mark.parametrize("more", [["--chunks", "0"], ["--slots", "0"], ["--device", "cuda:77"]])
def test_bad_arguments_end_with_an_error(capsys, more):
    with pytest.raises(SystemExit) as stop:
        main([*SMALL, *more])
    assert stop.value.code == 2 and capsys.readouterr().err
