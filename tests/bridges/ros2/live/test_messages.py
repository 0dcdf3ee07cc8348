"""Messages as rclpy takes them, on a stand-in for a package of messages."""

import array
import sys
from types import ModuleType

import numpy as np
import pytest
from sanawm_env.bridges.ros2.live import messages as live


class Picture:
    @classmethod
    def get_fields_and_field_types(cls):
        return {
            "name": "string",
            "data": "sequence<uint8>",
            "ranges": "sequence<float>",
            "k": "double[9]",
            "level": "octet",
        }

    def __init__(self, **fields):
        self.__dict__.update(fields)


@pytest.fixture
def package(monkeypatch):
    module = ModuleType("stand_in.msg")
    module.Picture = Picture
    monkeypatch.setitem(sys.modules, "stand_in", ModuleType("stand_in"))
    monkeypatch.setitem(sys.modules, "stand_in.msg", module)


def test_arrays(package):
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 6)[:, ::2]
    message = live.make(
        "stand_in/msg/Picture", name="x", data=pixels, ranges=np.array([1.5, np.inf]), k=np.eye(3).reshape(-1), level=2
    )
    assert message.data == array.array("B", [0, 2, 4, 6, 8, 10]) and message.name == "x"
    assert message.ranges == array.array("f", [1.5, np.inf])
    assert isinstance(message.k, np.ndarray) and message.level == b"\x02"


def test_what_is_missing_is_named(package):
    assert live.available("stand_in/msg/Picture") and not live.available("stand_in/msg/Sound")
    with pytest.raises(ImportError, match="install the ROS package no_such_msgs"):
        live.message_class("no_such_msgs/msg/Thing")
