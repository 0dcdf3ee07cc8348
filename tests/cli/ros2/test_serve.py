"""What `sanawm ros2 serve` refuses before it loads anything; the rest needs ROS (tests/bridges/ros2/live)."""

import pytest

from sanawm_env.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["--mode", "warp"], "lockstep, fast"),
        (["--worlds", "0"], "at least one"),
        (["--namespace", "9lives"], "no namespace"),
        (["--seconds", "-1"], "must be positive"),
        (["--max-angular", "0"], "--max-angular must be positive"),
        (["--turn-acceleration", "nan"], "--turn-acceleration must be positive"),
        ([], "source /opt/ros/"),
    ],
)
def test_refusals(arguments, fix, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rclpy", None)  # wherever the tests run
    with pytest.raises(SystemExit) as end:
        main(["ros2", "serve", *arguments])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2 and line.startswith("sanawm: error: ") and fix in line
