"""The files for ROS 2 tools name topics, options and panels that exist."""

import ast
import json
import re
from dataclasses import fields
from pathlib import Path

import yaml
from sanawm_env.bridges.ros2.topics import TYPES

from sanawm_env.cli.ros2.serve import Serve

EXAMPLES = Path(__file__).parents[3] / "examples" / "ros2"


def leaves(value):
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield each
        yield from leaves(each)


def test_rviz():
    config = yaml.safe_load((EXAMPLES / "sanawm.rviz").read_text())["Visualization Manager"]
    topics = [display["Topic"]["Value"] for display in config["Displays"] if "Topic" in display]
    assert len(topics) == 4 and {topic.lstrip("/") for topic in topics} <= set(TYPES)
    assert config["Global Options"]["Fixed Frame"] == "odom"


def test_foxglove():
    layout = json.loads((EXAMPLES / "foxglove.json").read_text())
    panels = {each for each in leaves(layout["layout"]) if isinstance(each, str) and "!" in each}
    assert panels == set(layout["configById"])
    named = re.findall(r'"/((?:world/)?[a-z_/]+)', json.dumps(layout["configById"]))
    assert named and {topic.removeprefix("world/") for topic in named} <= set(TYPES)


def test_launch():
    tree = ast.parse((EXAMPLES / "sanawm.launch.py").read_text())
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    options = {word[2:].replace("-", "_") for word in words if word.startswith("--")}
    assert options == {"mode", "seed"} and options <= {field.name for field in fields(Serve)}
