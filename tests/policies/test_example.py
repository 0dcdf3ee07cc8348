"""The planning example runs end to end, on an untrained world."""

import runpy
from pathlib import Path

import av

from sanawm_env.world.checkpoints.local import save_checkpoint
from tests.policies.policy_worlds import MODEL, F

EXAMPLE = Path(__file__).parents[2] / "examples" / "plan_with_mppi.py"


def test_plan_with_mppi(tmp_path, capsys):
    save_checkpoint(tmp_path / "small", MODEL.config, MODEL.transformer.state_dict(), MODEL.vae.state_dict())
    example = runpy.run_path(str(EXAMPLE))
    out, budget = tmp_path / "plan.mp4", 6 * 2 * F
    # Steps of 0.2 m: the goal is out of reach.
    settings = {"steps": 3, "frame_budget": budget, "horizon": 2, "checkpoint": str(tmp_path / "small"), "out": out}
    example["main"](example["Args"](**settings))
    with av.open(str(out)) as container:
        assert len(list(container.decode(video=0))) == 1 + 3 * F
    printed = capsys.readouterr().out
    assert "success: False" in printed and f"frames: {3 * F} acted, {3 * budget} imagined" in printed
