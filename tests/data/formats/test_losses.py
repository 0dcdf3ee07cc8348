"""What a format has no place for: declared, told by the documentation, and true."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sanawm_env.data.episode import Episode
from sanawm_env.data.formats import FORMATS, get_format
from sanawm_env.data.formats.registry import LOSABLE, losses
from sanawm_env.data.recipe import EpisodeRecipe

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "dataset-formats.md"


@pytest.fixture
def full(episodes: list[Episode], tmp_path: Path) -> Episode:
    """An episode with all that can be lost."""
    picture = tmp_path / "photo.png"
    picture.write_bytes(b"pixels")
    recipe = EpisodeRecipe(
        checkpoint="small",
        checkpoint_hash="abc",
        checkpoint_name="small",
        env={},
        seed=3,
        options={},
        image={"file": str(picture), "sha256": "00"},
        start={},
        actions=episodes[0].actions.tolist(),
        policy="random:smooth",
        frames=len(episodes[0]),
        frames_per_step=episodes[0].frames_per_step,
        size=episodes[0].size,
        fps=16.0,
        digests=[],
        frames_sha256="",
        depends_on={},
    )
    return replace(episodes[0], recipe=recipe.to_dict())


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_lost_is_what_is_declared(name: str, full: Episode, tmp_path: Path) -> None:
    try:
        module = get_format(name).load()
    except ValueError as error:
        pytest.skip(str(error))
    module.write(tmp_path / "walks-v0", [full])
    (found,) = module.read(tmp_path / "walks-v0")
    assert {what for what, has in LOSABLE.items() if not has(found)} == set(FORMATS[name].lacks)
    if "given picture" not in FORMATS[name].lacks:
        assert found.recipe is not None and Path(found.recipe["image"]["file"]).read_bytes() == b"pixels"
    else:
        assert found.recipe is None


def test_the_documentation_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.read_text(encoding="utf-8").split("## What is lost")[1], re.M)
    told = {}
    for name, rest in rows[: len(FORMATS)]:
        depth, _, _, picture, _ = (cell.strip() for cell in rest.split("|"))
        told[name] = {"depth": depth != "lost", "given picture": picture != "lost"}
    assert told == {name: {what: what not in each.lacks for what in LOSABLE} for name, each in FORMATS.items()}


def test_it_is_said_in_one_sentence_each(full: Episode, episodes: list[Episode]) -> None:
    bare = replace(episodes[1], depth=None)
    assert losses(FORMATS["colmap"], [bare]) == losses(FORMATS["lerobot"], [full]) == []
    depth, picture = losses(FORMATS["upstream"], [full, bare])
    assert "no place for depth: left out of 1 of 2 episodes" in depth and "nerfstudio" in depth
    assert "begin with a given picture" in picture and "colmap" in picture and "webdataset" not in picture
