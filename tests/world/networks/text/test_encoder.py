"""Prompt encoding: against diffusers' pipeline, the disk cache, and what is refused. A tiny Gemma-2, no network."""

import gc
import importlib.util
import json
import shutil
import sys
import types
import warnings
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sanawm_env.world.networks.text import cache as text_cache
from sanawm_env.world.networks.text import encoder as text
from sanawm_env.world.networks.text.encoder import encode_prompts, encoder_fingerprint, release_instruction

if importlib.util.find_spec("transformers") is None:
    pytest.skip("transformers (extra `release`) is not installed: no prompt can be encoded", allow_module_level=True)

from tests.world.networks.text.text_fixtures import write_text_encoder

LENGTH = 24
PROMPT = "a road by the sea"
INSTRUCTION = "Describe the scene in detail.\n- Shapes and colors.\nUser Prompt: "


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_text_encoder(tmp_path_factory.mktemp("text") / "gemma")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SANAWM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prompts"


def encode(encoder, *prompts, length=LENGTH, instruction=INSTRUCTION, **more):
    return encode_prompts(prompts, encoder, length=length, instruction=instruction, **more)


def no_model(monkeypatch):
    def fail(*_):
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr(text, "_model", fail)


@pytest.mark.parametrize("prompt", [PROMPT, "", "rain " * 40, "näh\n\n雨  x"])
@pytest.mark.parametrize("instructed", [True, False])
@pytest.mark.filterwarnings("ignore:prompt too long")
def test_equals_diffusers_pipeline(encoder, prompt, instructed):
    pipeline = pytest.importorskip("diffusers.pipelines.sana_wm.pipeline_sana_wm")
    from transformers import AutoTokenizer, Gemma2ForCausalLM

    parts = types.SimpleNamespace(
        tokenizer=AutoTokenizer.from_pretrained(encoder),
        text_encoder=Gemma2ForCausalLM.from_pretrained(encoder, dtype=torch.bfloat16).eval(),
        _execution_device="cpu",
    )
    with torch.no_grad():
        answer = pipeline.SanaWMPipeline.encode_prompt(
            parts, prompt, prompt, max_sequence_length=LENGTH, chi_prompt=INSTRUCTION.split("\n")
        )
    theirs, their_mask = answer[:2] if instructed else answer[2:]
    ours, mask = encode(encoder, prompt, instruction=INSTRUCTION if instructed else "")
    assert ours.shape == (1, LENGTH, 16) and ours.dtype == torch.bfloat16 and mask.dtype == torch.bool
    assert torch.equal(mask, their_mask.bool())
    assert torch.equal(ours, theirs[:, 0])
    assert ours.float().std() > 0.1


def test_positions_are_bos_the_end_of_the_instruction_and_the_prompt(encoder):
    """Counted by hand: the mask has `<bos>`, the instruction's last token and the prompt's own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    before = tokenizer(INSTRUCTION).input_ids
    together = tokenizer(INSTRUCTION + PROMPT).input_ids
    assert before[0] == tokenizer.bos_token_id and together[: len(before) - 1] == before[:-1]
    _, mask = encode(encoder, PROMPT)
    seen = 1 + len(together) - (len(before) - 1)
    assert mask[0].tolist() == [True] * seen + [False] * (LENGTH - seen)


def test_prompts_do_not_touch_one_another(encoder):
    both, masks = encode(encoder, PROMPT, "a dark room")
    one, mask = encode(encoder, PROMPT, use_cache=False)
    assert torch.equal(both[:1], one) and torch.equal(masks[:1], mask)
    assert not torch.equal(both[0], both[1])


def test_the_instruction_matters_and_is_the_releases(encoder):
    pytest.importorskip("diffusers")
    released = release_instruction()
    assert released.count("\n") == 7 and released.endswith("User Prompt: ")
    by_default, _ = encode(encoder, PROMPT, instruction=None, use_cache=False)
    spelt_out, _ = encode(encoder, PROMPT, instruction=released, use_cache=False)
    assert torch.equal(by_default, spelt_out)
    assert not torch.equal(by_default, encode(encoder, PROMPT, instruction="")[0])


def test_another_instruction_in_diffusers_is_refused(monkeypatch):
    pipeline = pytest.importorskip("diffusers.pipelines.sana_wm.pipeline_sana_wm")
    monkeypatch.setattr(pipeline, "DEFAULT_CHI_PROMPT", ["Something else: "])
    with pytest.raises(ValueError, match="another prompt instruction"):
        release_instruction()


def test_too_long_says_what_is_cut(encoder, monkeypatch):
    prompt = "a road by the sea, " * 6 + "and at its end a lighthouse"
    with pytest.warns(UserWarning, match="prompt too long: the model reads 24 text tokens") as first:
        values, mask = encode(encoder, prompt)
    assert mask.all()
    cut = str(first[0].message).split("left out: ")[1].split(". Shorten")[0].strip("'")
    assert prompt.endswith(cut) and "lighthouse" in cut
    # Without its last words it is the same to the model, to the letter.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same, _ = encode(encoder, prompt[: -len(cut)])
    assert torch.equal(values, same)
    no_model(monkeypatch)
    with pytest.warns(UserWarning, match="lighthouse"):
        encode(encoder, prompt)


def test_remembered_prompts_load_no_encoder(encoder, own_cache, monkeypatch):
    release = release_instruction()
    first, mask = encode(encoder, PROMPT, "", instruction=None)
    assert len(list(own_cache.iterdir())) == 2
    no_model(monkeypatch)
    monkeypatch.setattr(text, "release_instruction", lambda: pytest.fail("diffusers was asked"))
    again, mask_again = encode(encoder, "", PROMPT, instruction=None)
    assert torch.equal(again.flip(0), first) and torch.equal(mask_again.flip(0), mask)
    for change in ({"instruction": "x"}, {"length": LENGTH - 1}, {"dtype": torch.float32}):
        with pytest.raises(AssertionError, match="was loaded"):
            encode(encoder, PROMPT, **({"instruction": release} | change))


def test_another_encoder_is_another_entry(encoder, tmp_path):
    first, _ = encode(encoder, PROMPT)
    other = write_text_encoder(tmp_path / "other", seed=1)
    second, _ = encode(other, PROMPT)
    assert not torch.equal(first, second)
    copy = shutil.copytree(encoder, tmp_path / "copy")
    assert encoder_fingerprint(copy) == encoder_fingerprint(encoder) != encoder_fingerprint(other)


def test_tokenizer_in_a_folder_of_its_own(encoder, tmp_path):
    """As in diffusers' layout."""
    copy, words = shutil.copytree(encoder, tmp_path / "text_encoder"), tmp_path / "tokenizer"
    words.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.move(copy / name, words / name)
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        encode(copy, PROMPT)
    first, _ = encode(encoder, PROMPT)
    assert encoder_fingerprint(copy, words) == encoder_fingerprint(encoder)
    assert torch.equal(encode(copy, PROMPT, tokenizer=words, use_cache=False)[0], first)


def test_large_files_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_PIECE", 8)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(8 * 64 * 3))
    first = encoder_fingerprint(tmp_path)
    for place in (0, 8 * 64 * 3 - 1):
        changed = bytearray(8 * 64 * 3)
        changed[place] = 1
        weights.write_bytes(bytes(changed))
        assert encoder_fingerprint(tmp_path) != first


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "flipped", "renamed", "mask"])
def test_a_damaged_entry_is_made_again(encoder, own_cache, damage):
    first, mask = encode(encoder, PROMPT)
    (path,) = own_cache.iterdir()
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[:-10])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "garbage":
        path.write_bytes(b"\x80\x04not this" * 20)
    elif damage == "flipped":
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 64]) + data[-8:])
    elif damage == "renamed":
        encode(encoder, "another prompt")
        (other,) = set(own_cache.iterdir()) - {path}
        shutil.copy(other, path)
    else:
        save_file(load_file(path) | {"mask": torch.ones(3, dtype=torch.bool)}, path)
    with pytest.warns(UserWarning, match="damaged.*encoding the prompt again"):
        again, mask_again = encode(encoder, PROMPT)
    assert torch.equal(again, first) and torch.equal(mask_again, mask)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(encoder, PROMPT)


def test_a_cache_that_cannot_be_written_is_a_warning(encoder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot write to .* set SANAWM_CACHE"):
        values, _ = encode(encoder, PROMPT, cache=tmp_path / "file" / "prompts")
    assert torch.equal(values, encode(encoder, PROMPT, use_cache=False)[0])


def test_no_half_written_entry(encoder, own_cache, monkeypatch):
    def dies(_, path, __):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", dies)
    with pytest.warns(UserWarning, match="disk full"):
        encode(encoder, PROMPT)
    assert list(own_cache.iterdir()) == []


def test_without_cache_nothing_is_written(encoder, own_cache):
    encode(encoder, PROMPT, use_cache=False)
    assert not own_cache.exists()


def test_default_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("SANAWM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert text_cache.default_cache() == tmp_path / "sanawm_env" / "prompts"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert text_cache.default_cache().parts[-3:] == (".cache", "sanawm_env", "prompts")


def test_the_encoder_is_freed(encoder, monkeypatch):
    made = []
    load = text._model

    def watch(*args):
        model = load(*args)
        made.append(weakref.ref(model))
        return model

    monkeypatch.setattr(text, "_model", watch)
    encode(encoder, PROMPT, "b", use_cache=False)
    gc.collect()
    assert len(made) == 1 and made[0]() is None


def test_padding_to_a_multiple(encoder):
    plain, mask = encode(encoder, PROMPT, length=21)
    padded, padded_mask = encode(encoder, PROMPT, length=21, multiple=8)
    assert padded.shape == (1, 24, 16) and torch.equal(padded[:, :21], plain)
    assert torch.equal(padded_mask[:, :21], mask) and not padded_mask[:, 21:].any() and not padded[:, 21:].any()


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "*.safetensors"])
def test_missing_files(encoder, tmp_path, name):
    copy = shutil.copytree(encoder, tmp_path / "copy")
    for path in copy.glob(name):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks .*; give the folder of a complete download") as error:
        encode(copy, PROMPT)
    assert name in str(error.value)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json"):
        encode(tmp_path / "nowhere", PROMPT)


def test_a_missing_shard_a_truncated_one_and_one_of_another_shape(encoder, tmp_path):
    for number, damage in enumerate(("missing", "truncated", "shape", "key")):
        copy = shutil.copytree(encoder, tmp_path / str(number))
        shard = copy / "model-00001-of-00002.safetensors"
        if damage == "missing":
            shard.unlink()
        elif damage == "truncated":
            shard.write_bytes(shard.read_bytes()[:-100])
        else:
            state = load_file(shard)
            name = min(name for name, value in state.items() if value.ndim == 2)
            value = state.pop(name)
            if damage == "shape":
                state[name] = value[:-1].contiguous()
            save_file(state, shard, {"format": "pt"})
        with pytest.raises(ValueError, match=r"damaged|do not fit their config\.json"):
            encode(copy, PROMPT)


def test_another_kind_of_encoder(encoder, tmp_path):
    copy = shutil.copytree(encoder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(ValueError, match="'llama', SANA-WM reads 'gemma2'"):
        encode(copy, PROMPT)
    (copy / "config.json").write_text("{")
    with pytest.raises(ValueError, match="no model config"):
        encode(copy, PROMPT)


def test_a_tokenizer_without_bos(encoder, tmp_path, monkeypatch):
    copy = shutil.copytree(encoder, tmp_path / "copy")
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": False}))
    no_model(monkeypatch)
    with pytest.raises(ValueError, match="does not begin a text with <bos>"):
        encode(copy, PROMPT)


def test_width_is_checked_before_loading(encoder, monkeypatch):
    no_model(monkeypatch)
    with pytest.raises(ValueError, match="16 wide, the world model expects 2304"):
        encode(encoder, PROMPT, channels=2304)


def test_bad_arguments(encoder):
    with pytest.raises(TypeError, match=r"wrap a single one: \[prompt\]"):
        encode_prompts(PROMPT, encoder)
    with pytest.raises(TypeError, match="sequence of strings"):
        encode_prompts([None], encoder)
    with pytest.raises(ValueError, match="at least one prompt"):
        encode_prompts([], encoder)


def test_not_enough_memory_names_the_mend(encoder, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    monkeypatch.setattr(text, "_model", full)
    with pytest.raises(MemoryError, match="encode on the CPU instead, device='cpu'"):
        encode(encoder, PROMPT)


def test_missing_transformers_names_the_extra(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="sanawm_env\\[release\\]"):
        encode(encoder, PROMPT)
