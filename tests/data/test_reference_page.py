"""The example of docs/reference/data.md runs as it stands there, on an untrained world so that it takes seconds."""

import re
from pathlib import Path

import pytest

from sanawm_env import WorldModel
from sanawm_env.data.formats import get_format

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "data.md"


def test_the_example_runs_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(WorldModel, "load", lambda name: WorldModel.untrained())
    exec(compile(example, str(PAGE), "exec"), {})
    assert "ds: 2 episodes: 2 kept" in capsys.readouterr().out
    assert [each.name for each in get_format("nerfstudio").load().read(Path("scenes"))] == ["000000", "000001"]
    again = example[: example.index("\nepisodes =")]
    exec(compile(again, str(PAGE), "exec"), {})
    assert "ds is complete: 2 episodes" in capsys.readouterr().out
