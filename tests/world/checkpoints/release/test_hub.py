"""Releases from the Hub: which commit, which files, resumed, offline, and what is said when it fails.

huggingface_hub itself runs; only the Hub's server is another, on this machine.
"""

import shutil
import sys
import warnings
from pathlib import Path

import pytest

from sanawm_env.world.checkpoints.local import resolve
from sanawm_env.world.checkpoints.presets import RELEASES, TEXT_ENCODER, VAE_REPO, Release
from sanawm_env.world.checkpoints.release import hub as release_hub
from sanawm_env.world.checkpoints.release.hub import fetch, fetch_text_encoder, is_repo_id, revision_of
from sanawm_env.world.checkpoints.release.load import read_release
from sanawm_env.world.model import WorldModel

pytest.importorskip("diffusers")
hub_library = pytest.importorskip("huggingface_hub", minversion="1.0")
from tests.world.checkpoints.release.hub_fixtures import FakeHub, serving  # noqa: E402
from tests.world.checkpoints.release.release_fixtures import WRITERS, write_vae  # noqa: E402

OTHER = "someone/world"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The repositories exactly as published: a causal VAE is in the streaming one alone."""
    root = tmp_path_factory.mktemp("releases")
    return {layout: WRITERS[layout](root / layout) for layout in WRITERS}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    constants = hub_library.constants
    fake = FakeHub()
    with serving(fake) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
        fake.address = address
        monkeypatch.chdir(tmp_path)  # names are looked for in the working folder first, where others' runs may lie
        yield fake


def offline(monkeypatch):
    monkeypatch.setattr(hub_library.constants, "HF_HUB_OFFLINE", True)


def unreachable(monkeypatch):
    """An address where nobody answers."""
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(hub_library.constants, "ENDPOINT", nowhere)
    template = nowhere + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub_library.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def load(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WorldModel.load(name)


def test_streaming_from_the_hub(hub, written, monkeypatch):
    commit = RELEASES[VAE_REPO].revision
    assert len(commit) == 40
    hub.add(VAE_REPO, written["streaming"], commit, names=())
    newer = hub.add(VAE_REPO, written["diffusers"])
    model = load(VAE_REPO)
    assert model.checkpoint == load(written["streaming"]).checkpoint
    # The pinned commit, although main has moved on; and it is written down.
    assert newer != commit and model.config.name == f"{VAE_REPO}@{commit} (streaming)"
    got = hub.files(VAE_REPO)
    assert sorted(set(got)) == [
        "ltx2_causal_vae/config.json",
        "ltx2_causal_vae/diffusion_pytorch_model.safetensors",
        "sana_dit/model.pt",
        "sana_wm_streaming_tiny.yaml",
    ]
    # A second time nothing is sent; offline and without a connection neither.
    offline(monkeypatch)
    assert load(VAE_REPO).checkpoint == model.checkpoint
    monkeypatch.setattr(hub_library.constants, "HF_HUB_OFFLINE", False)
    unreachable(monkeypatch)
    assert load(f"hf://{VAE_REPO}@{commit}").config == model.config
    assert hub.files(VAE_REPO) == got


@pytest.mark.parametrize("layout", ["bidirectional", "chunk_causal", "diffusers"])
def test_the_others_borrow_the_causal_vae(hub, written, layout):
    commit = hub.add(OTHER, written[layout])
    hub.add(VAE_REPO, written["streaming"], RELEASES[VAE_REPO].revision)
    model = load(OTHER)
    assert model.config.name.startswith(f"{OTHER}@{commit} (")
    assert set(hub.files(VAE_REPO)) == {
        "ltx2_causal_vae/config.json",
        "ltx2_causal_vae/diffusion_pytorch_model.safetensors",
    }
    assert not any("refiner" in file for file in hub.files(OTHER))
    release = read_release(resolve(OTHER))
    assert release.hash() == model.checkpoint
    assert release.files.vae.parent.name == RELEASES[VAE_REPO].revision


def test_text_encoder(hub, tmp_path):
    names = ("config.json", "model-00001-of-00002.safetensors", "tokenizer.json", "tokenizer.model")
    for name in (*names, "pytorch_model.bin", "README.md"):
        (tmp_path / "gemma").mkdir(exist_ok=True)
        (tmp_path / "gemma" / name).write_text(name)
    hub.add(TEXT_ENCODER, tmp_path / "gemma")
    folder = fetch_text_encoder()
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_revisions(hub, written, tmp_path):
    changed = shutil.copytree(written["streaming"], tmp_path / "changed")
    write_vae(changed / "ltx2_causal_vae", seed=1)
    old = hub.add(OTHER, written["streaming"], names=("v1",))
    new = hub.add(OTHER, changed, names=("main", "a/branch"))
    found = {name: load(f"{OTHER}{name}") for name in ("", "@v1", f"@{old}", "@a/branch")}
    revisions = [model.config.name.split("@")[1].split()[0] for model in found.values()]
    assert revisions == [new, old, old, new]
    hashes = [model.checkpoint for model in found.values()]
    assert hashes[0] == hashes[3] != hashes[1] == hashes[2]
    with pytest.raises(FileNotFoundError, match=f"{OTHER} has no revision 'v2'; take {OTHER}@main"):
        load(f"{OTHER}@v2")
    with pytest.raises(FileNotFoundError, match="has no revision '0000"):
        load(f"{OTHER}@{'0' * 40}")


def test_a_connection_that_breaks_is_resumed(hub, written, monkeypatch):
    hub.add(OTHER, written["streaming"])
    monkeypatch.setattr(hub_library.constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    hub.cut = [10_000, 0, 200_000, None]
    assert load(OTHER).checkpoint == load(written["streaming"]).checkpoint
    starts = [wanted for method, path, wanted in hub.asked if method == "GET" and path.endswith("model.pt")]
    assert starts == [None, "bytes=10000-", "bytes=10000-", "bytes=210000-"]


def test_a_download_that_stops_goes_on_later(hub, written, monkeypatch):
    """With what is whole kept; whether a part of a file is kept too is up to huggingface_hub (2.x does not)."""
    commit = hub.add(OTHER, written["streaming"])
    hub.cut = []
    with pytest.raises(ConnectionError, match=f"the download of {OTHER} stopped .*run it again"):
        load(OTHER)
    # What came is no checkpoint yet, and offline the error says so.
    with monkeypatch.context() as without:
        offline(without)
        with pytest.raises(FileNotFoundError, match="not whole in the Hub's cache"):
            load(OTHER)
    hub.cut, hub.asked = None, []
    assert load(OTHER).config.name == f"{OTHER}@{commit} (streaming)"
    assert hub.files(OTHER) == ["sana_dit/model.pt"]


def test_no_network(hub, monkeypatch):
    unreachable(monkeypatch)
    with pytest.raises(ConnectionError, match=r"Hub cannot be reached .*connect, or give a local folder\."):
        load(VAE_REPO)
    offline(monkeypatch)
    with pytest.raises(FileNotFoundError, match=r"HF_HUB_OFFLINE is set; download it where there is a network"):
        load(VAE_REPO)


def test_an_unknown_name_may_have_been_meant_as_a_folder(hub, monkeypatch):
    unreachable(monkeypatch)
    with pytest.raises(ConnectionError, match=r"If a folder was meant: there is no 'runs/mine' in /"):
        load("runs/mine")
    offline(monkeypatch)
    with pytest.raises(FileNotFoundError, match=r"If a folder was meant: there is no 'runs/mine' in /"):
        load("runs/mine")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"If a folder was meant: there is no 'runs/mine' in /"):
        load("runs/mine")


def test_no_such_repository(hub):
    with pytest.raises(FileNotFoundError, match=r"no folder 'runs/mine', and the Hub shows no repository 'runs/mine'"):
        load("runs/mine")


def test_gated(hub, written):
    hub.add(OTHER, written["streaming"])
    hub.locked.add(OTHER)
    with pytest.raises(PermissionError, match=f"{OTHER} wants its terms accepted.*hf auth login"):
        load(OTHER)


def test_no_release_in_the_repository(hub, tmp_path):
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "config.json").write_text("{}")
    hub.add(OTHER, tmp_path / "repo")
    with pytest.raises(FileNotFoundError, match=r"checkpoint 'someone/world': the repository holds no SANA-WM release"):
        load(OTHER)


def test_incomplete_repository(hub, written, tmp_path):
    folder = shutil.copytree(written["streaming"], tmp_path / "part")
    (folder / "ltx2_causal_vae" / "diffusion_pytorch_model.safetensors").unlink()
    hub.add(OTHER, folder)
    with pytest.raises(FileNotFoundError, match=r"diffusion_pytorch_model\.safetensors is missing"):
        load(OTHER)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'needs huggingface_hub: pip install "sanawm_env\[release\]"'):
        load(VAE_REPO)


def test_a_local_folder_goes_before_the_hub_and_opens_no_connection(hub, written, tmp_path, monkeypatch):
    hub.add(VAE_REPO, written["diffusers"])
    folder = tmp_path / VAE_REPO
    shutil.copytree(written["streaming"], folder)
    monkeypatch.chdir(tmp_path)
    assert load(VAE_REPO).checkpoint == load(written["streaming"]).checkpoint
    with pytest.raises(ValueError, match="no VAE that can stream"):
        load(written["chunk_causal"])
    assert not hub.asked


def test_names():
    for good in ("a/b", "hf://a/b", "a/b@main", "Efficient-Large-Model/SANA-WM_streaming@c769", "a/b@refs/pr/1"):
        assert is_repo_id(good)
    for bad in ("tiny", "/a/b", "./b", "../b", "a/b/c", "a\\b", "a/", "a/b@", "a/b @x", "~/b", "https://a/b", ""):
        assert not is_repo_id(bad)
        with pytest.raises(ValueError, match="no repository"):
            fetch(bad)


def test_pins():
    """A pin is a whole commit; what has none follows main."""
    for repo, release in RELEASES.items():
        assert release == Release(repo, release.preset, release.revision, release.gigabytes)
        assert release.revision == "main" or revision_of(Path(f"/x/models--a--b/snapshots/{release.revision}"))
    assert release_hub.VAE_REPO in RELEASES


def test_revision_of_folders(tmp_path):
    commit, other = "0123456789abcdef" * 2 + "01234567", "f" * 40
    cached = tmp_path / "models--some--one" / "snapshots" / commit
    cached.mkdir(parents=True)
    assert revision_of(cached) == f"some/one@{commit}"
    copied = tmp_path / "SANA-WM_streaming"
    notes = copied / ".cache" / "huggingface" / "download" / "sana_dit"
    notes.mkdir(parents=True)
    assert revision_of(copied) is None
    (notes / "model.pt.metadata").write_text(f"{commit}\netag\n1.0\n")
    assert revision_of(copied) == f"SANA-WM_streaming@{commit}"
    (notes / "b.metadata").write_text(f"{other}\n")
    assert revision_of(copied) is None
    (notes / "b.metadata").write_bytes(b"\xff\xfe")
    assert revision_of(copied) is None
    assert revision_of(tmp_path) is None
