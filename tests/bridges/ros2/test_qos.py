"""What is offered on which topic."""

from sanawm_env.bridges.ros2.qos import quality_of
from sanawm_env.bridges.ros2.topics import CLOCK, IMAGE, ODOMETRY, SCAN, TF, TF_STATIC, TYPES


def test_everything_is_reliable_and_static_transforms_are_latched():
    for topic in TYPES:
        quality = quality_of(topic)
        assert quality.reliable and quality.latched is (topic == TF_STATIC)
    assert quality_of(TF_STATIC).depth == 1 and quality_of(IMAGE).depth == 5 and quality_of(TF).depth == 100


def test_a_step_that_is_sent_at_once_is_kept_whole():
    assert quality_of(IMAGE, burst=12).depth == 12 and quality_of(CLOCK, burst=12).depth == 12
    assert quality_of(IMAGE, burst=4).depth == 5


def test_best_effort_is_for_sensors():
    assert not quality_of(IMAGE, best_effort=True).reliable and not quality_of(SCAN, best_effort=True).reliable
    for topic in (TF, TF_STATIC, CLOCK, ODOMETRY):
        assert quality_of(topic, best_effort=True).reliable
