import json

import numpy as np
import pytest

from benchmarks import annotate_truth
from sanawm_env.scenes.posed_clips import PosedClip, prepare_clips, write_clip
from tests.data.annotation.conftest import LENS, SIZE, film, need, path


def test_clips_of_known_truth(tmp_path, capsys):
    need("pycolmap", "evo")
    c2w = path(33)
    frames = film(c2w)
    place = prepare_clips(tmp_path / "ds")
    lens = np.tile(LENS, (33, 1)).astype(np.float32)
    write_clip(place / "right", PosedClip(c2w, lens, *SIZE, metric=True), frames)
    other = c2w.copy()  # said to be true, and not what is seen
    round_about = np.linspace(0, 2 * np.pi, 33)
    other[:, 0, 3], other[:, 2, 3] = np.sin(round_about), 1 - np.cos(round_about)
    write_clip(place / "wrong", PosedClip(other, lens, *SIZE, metric=True), frames)
    annotate_truth.main(["--seeds", "0:0", "--posed", str(tmp_path / "ds")])
    found = json.loads(capsys.readouterr().out)
    assert found["clips"] == found["accepted"] == 2 and found["refused"] == {}
    assert found["false_accepted"] == 1 and found["good_share"] == 0.5
    assert found["ate_percent"]["worst"] > 10 and found["focal_percent"]["worst"] < 0.01


def test_rows_are_counted():
    row = {"clip": "a", "path_m": 2.0, "corners": 120, "seconds": 1.0, "motion": "moves", "rotation_deg": 0.1}
    row |= {"focal_percent": 0.0, "ate_percent": 0.5, "accepted": True, "reasons": [], "scale_percent": {"depth": -2.0}}
    refused = row | {
        "accepted": False,
        "ate_percent": 40.0,
        "reasons": ["it has 12 corners, and 25 are needed"],
    }
    plain = refused | {"corners": 30}
    found = annotate_truth.summary([row, refused, plain])
    assert found["refused"] == {"it has # corners": 2}
    assert (found["moving"], found["moving_textured"], found["moving_textured_accepted"]) == (3, 2, 1)
    assert found["scale_percent"]["depth"] == {"count": 1, "median": 2.0, "worst": 2.0, "not_found": 0}
    assert found["false_accepted"] == 0 and found["refused_paths_ate_percent"]["count"] == 2


@pytest.mark.parametrize("arguments", [["--seeds", "0:0", "--posed", "nowhere"], ["--seeds", "a:b"]])
def test_what_is_not_there(arguments, capsys):
    with pytest.raises(SystemExit):
        annotate_truth.main(arguments)
    assert "annotate_truth: error" in capsys.readouterr().err
