"""Pictures, lens and path out of what robots record, and what is wrong with a recording."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

pytest.importorskip("rosbags")

from sanawm_env.bridges.ros2.bags.recording import Choices, read_recording
from sanawm_env.bridges.ros2.bags.storage import open_bag

from tests.bridges.ros2.bags import robots
from tests.bridges.ros2.bags.robots import START

IMAGES = "/cam/image_raw"
MOMENTS = np.array([0.0, 0.013, 0.5, 0.987])
STAMPS = START + np.round(MOMENTS * 1e9).astype(np.int64)
TRUE = np.stack([robots.camera_at(moment) for moment in MOMENTS])


@pytest.fixture
def read(tmp_path):
    """Write these messages as a bag, and read it."""

    def run(lines, **choices):
        return read_recording(open_bag(robots.write(tmp_path / "robot", lines)), Choices(**choices))

    return run


def jpeg(index, stamp):
    buffer = io.BytesIO()
    Image.fromarray(robots.picture(index)).save(buffer, "png")
    return robots.compressed(buffer.getvalue(), "rgb8; png compressed bgr8", stamp)


def test_images_lens_and_path(read):
    found = read(robots.robot())
    assert found.image_topic == IMAGES and len(found.stamps) == 31 and found.stamps[0] == START
    assert found.lens.topic == "/cam/camera_info"
    assert found.lens.intrinsics.values.tolist() == [60, 60, 32, 24]  # from a pixel's corner, not its centre
    shown = list(found.images([0, 0, 4, 9, 9, 30]))
    assert all(np.array_equal(a, robots.picture(k)) for a, k in zip(shown, [0, 0, 4, 9, 9, 30], strict=True))
    path = found.path
    assert (path.source, path.start, path.end) == ("/odom", START, START + 10**9)
    assert np.abs(path.poses(STAMPS) - TRUE).max() < 1e-4 and not found.notes and not found.bag.damage


def test_path_out_of_tf_alone(read):
    lines = [*robots.images(), *robots.transforms(), robots.mount(), robots.info()]
    found = read(lines)
    assert found.path.source == "tf odom -> cam_optical"
    assert np.abs(found.path.poses(STAMPS) - TRUE).max() < 1e-4 and not found.notes


def test_a_map_that_corrects_itself_is_left_out(read):
    corrected = robots.moving("map", "odom", lambda seconds: ((10 * seconds, 0, 0), Rotation.identity()), hz=10.0)
    lines = [*robots.images(), *robots.transforms(), *corrected, robots.mount(), robots.info()]
    found = read(lines)
    assert np.abs(found.path.poses(STAMPS) - TRUE).max() < 1e-4 and not found.notes


def test_tf_in_place_of_odometry_on_demand(read, tmp_path):
    lines = [*robots.robot(), *robots.transforms()]
    found = read(lines, odom_topic="/tf")
    assert found.path.source == "tf odom -> cam_optical"
    bag = open_bag(tmp_path / "robot")
    assert read_recording(bag).path.source == "/odom"
    with pytest.raises(ValueError, match="no frame above the camera's; choose --world-frame of base_link, odom"):
        read_recording(bag, Choices(odom_topic="/tf", world_frame="map"))


def test_a_head_that_turns(read):
    def head(seconds):
        return Rotation.from_euler("z", 0.5 * seconds)

    turning = robots.moving("base_link", "head", lambda seconds: ((0, 0, 0.3), head(seconds)), hz=100.0)
    found = read([*robots.images(), *robots.odometries(), *turning, robots.mount(parent="head"), robots.info()])
    (pose,) = found.path.poses(STAMPS[2:3])
    place, turn = robots.pose_at(0.5)
    wanted = turn * head(0.5) * Rotation.from_quat(robots.OPTICAL)
    assert np.abs(pose[:3, :3] - wanted.as_matrix()).max() < 1e-4
    lens = head(0.5).apply(robots.MOUNT) + np.array([0, 0, 0.3])
    assert np.abs(pose[:3, 3] - (place + turn.apply(lens))).max() < 1e-4


def test_images_with_the_bodys_axes(read):
    """Some drivers stamp images with the camera's body frame, whose x axis looks ahead."""
    fixed = robots.transform(START, "base_link", "camera_link", robots.MOUNT, Rotation.identity())
    show = lambda k, stamp: robots.image(robots.picture(k), "rgb8", stamp, "camera_link")  # noqa: E731
    lines = [*robots.images(show=show), *robots.odometries(), ("/tf_static", "tf2_msgs/TFMessage", START, fixed)]
    found = read([*lines, robots.info()])
    assert np.abs(found.path.poses(STAMPS) - TRUE).max() < 1e-4
    assert any("'camera_link' points up, which is no optical one" in note for note in found.notes)


def test_without_a_mount(read):
    found = read([*robots.images(), *robots.odometries(), robots.info()])
    (note,) = found.notes
    assert "assuming that it looks along the body's x axis" in note
    wanted = TRUE.copy()
    for index, moment in enumerate(MOMENTS):
        wanted[index, :3, 3] = robots.pose_at(moment)[0]
    assert np.abs(found.path.poses(STAMPS) - wanted).max() < 1e-4


def test_without_camera_info_and_compressed_only(read):
    topic = f"{IMAGES}/compressed"
    lines = [*robots.images(show=jpeg, topic=topic, kind="sensor_msgs/CompressedImage"), *robots.odometries()]
    found = read([*lines, robots.mount()])
    assert found.image_topic == topic and found.lens is None
    assert all(np.array_equal(a, robots.picture(k)) for k, a in enumerate(found.images(range(31))))


def test_the_lens_of_compressed_images_lies_beside_the_raw_ones(read):
    topic = f"{IMAGES}/compressed"
    lines = [*robots.robot(), *robots.images(show=jpeg, topic=topic, kind="sensor_msgs/CompressedImage")]
    assert read(lines).image_topic == IMAGES  # the raw ones


def test_raw_or_compressed_on_demand(read):
    topic = f"{IMAGES}/compressed"
    lines = [*robots.robot(), *robots.images(show=jpeg, topic=topic, kind="sensor_msgs/CompressedImage")]
    found = read(lines, image_topic=topic)
    assert found.image_topic == topic and found.lens.topic == "/cam/camera_info"


def test_depth_is_no_picture(read):
    metres = np.ones(robots.SIZE, np.float32)
    show = lambda k, stamp: robots.image(metres, "32FC1", stamp)  # noqa: E731
    assert read([*robots.robot(), *robots.images(topic="/cam/depth", show=show)]).image_topic == IMAGES


def test_two_cameras_two_odometries(read, tmp_path):
    lines = [*robots.robot(), *robots.images(topic="/left/image_raw"), *robots.odometries(topic="/visual_odom")]
    with pytest.raises(ValueError, match="--image-topic: /cam/image_raw, /left/image_raw"):
        read(lines)
    bag = open_bag(tmp_path / "robot")
    with pytest.raises(ValueError, match=r"--odom-topic: .*/visual_odom"):
        read_recording(bag, Choices(image_topic=IMAGES))
    found = read_recording(bag, Choices(image_topic="/left/image_raw", odom_topic="/visual_odom"))
    assert found.path.source == "/visual_odom"
    for wrong in (Choices(image_topic="/odom"), Choices(image_topic="/nothing")):
        with pytest.raises(ValueError, match=r"no images on /.*; there is .*image_raw \(sensor_msgs/msg/Image, 31\)"):
            read_recording(bag, wrong)
    with pytest.raises(ValueError, match=r"no odometry on /nothing; there is .*/odom \(nav_msgs/msg/Odometry, 51\)"):
        read_recording(bag, Choices(image_topic=IMAGES, odom_topic="/nothing"))


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (IMAGES, r"no images \(sensor_msgs/Image or CompressedImage\); there is /.*odom"),
        ("/odom", "neither nav_msgs/Odometry nor tf; there is /cam/"),
    ],
)
def test_what_was_not_recorded(read, left_out, message):
    lines = [line for line in robots.robot() if line[0] not in (left_out, "/tf_static")]
    with pytest.raises(ValueError, match=message):
        read(lines)


def test_frames_that_tf_does_not_know(read, tmp_path):
    show = lambda k, stamp: robots.image(robots.picture(k), "rgb8", stamp, "elsewhere")  # noqa: E731
    with pytest.raises(ValueError, match="'elsewhere'; choose one with --camera-frame: base_link, cam_optical, odom"):
        read([*robots.images(show=show), *robots.transforms(), robots.mount()])
    found = read_recording(open_bag(tmp_path / "robot"), Choices(camera_frame="cam_optical"))
    assert np.abs(found.path.poses(STAMPS) - TRUE).max() < 1e-4


def test_static_tf_alone_is_no_path(read):
    with pytest.raises(ValueError, match="nothing between 'base_link' and 'cam_optical' moves"):
        read([*robots.images(), robots.mount()])


def test_tf_in_a_circle(read):
    back = robots.transform(START, "cam_optical", "odom", (0, 0, 0), Rotation.identity())
    lines = [*robots.images(), *robots.transforms(), robots.mount(), ("/tf", "tf2_msgs/TFMessage", START, back)]
    with pytest.raises(ValueError, match="tf goes round in a circle: "):
        read(lines)


def test_a_clock_that_goes_backwards(read):
    """A simulation that was reset while recording: the log goes on, stamps begin anew."""
    again = [
        (topic, kind, time + 2 * 10**9, message)
        for topic, kind, time, message in [*robots.images(), *robots.odometries()]
    ]
    found = read([*robots.robot(), *again])
    assert len(found.stamps) == 31 and found.path.end == START + 10**9
    assert [note.split(";")[0] for note in found.notes] == [
        "the clock of images of /cam/image_raw goes backwards by 1.0 s after 31 of 62 messages",
        "the clock of /odom goes backwards by 1.0 s after 51 of 102 messages",
    ]


def test_odometry_that_jumps(read):
    def moved(lines):
        for topic, kind, stamp, message in lines:
            if stamp > START + 600_000_000:
                message.pose.pose.position.x += 3.0
            yield topic, kind, stamp, message

    found = read([*robots.images(), *moved(robots.odometries()), robots.mount(), robots.info()])
    assert found.path.end == START + 600_000_000
    (note,) = found.notes
    assert "/odom jumps by 3.01 m in 20 ms, 0.6 s after its beginning" in note and "--max-speed" in note


def test_odometry_with_a_gap(read):
    lines = [line for line in robots.odometries() if not START + 2e8 < line[2] < START + 9e8]
    found = read([*robots.images(), *lines, robots.mount(), robots.info()])
    (note,) = found.notes
    assert "/odom is silent for 0.7 s, 0.2 s after its beginning" in note


def test_images_without_stamps(read):
    show = lambda k, stamp: robots.image(robots.picture(k), "rgb8", 0)  # noqa: E731
    found = read([*robots.images(show=show), *robots.odometries(), robots.mount(), robots.info()])
    assert found.stamps[0] == START and len(found.stamps) == 31 and "have no stamps" in found.notes[0]
    assert np.array_equal(next(found.images([7])), robots.picture(7))


def test_lenses(read, tmp_path):
    bent = ("/cam/camera_info", "sensor_msgs/CameraInfo", START, robots.camera_info(START, [0.1, 0, 0, 0, 0]))
    lines = [*robots.images(), *robots.odometries(), robots.mount()]
    with pytest.raises(ValueError, match=r"has distortion .*image_proc.*--ignore-distortion"):
        read([*lines, bent])
    found = read_recording(open_bag(tmp_path / "robot"), Choices(ignore_distortion=True))
    assert found.lens is not None and "the images are taken as they are" in found.notes[0]


def test_a_lens_of_another_size(read):
    other = robots.camera_info(START, size=(96, 128))
    lines = [*robots.images(), *robots.odometries(), robots.mount()]
    found = read([*lines, ("/cam/camera_info", "sensor_msgs/CameraInfo", START, other)])
    assert found.lens.intrinsics.values.tolist() == [30, 30, 32, 24]


def test_a_lens_of_another_shape(read):
    other = robots.camera_info(START, size=(96, 96))
    lines = [*robots.images(), *robots.odometries(), robots.mount()]
    with pytest.raises(ValueError, match="another cut, not another size"):
        read([*lines, ("/cam/camera_info", "sensor_msgs/CameraInfo", START, other)])


def test_no_calibration(read):
    empty = robots.camera_info(START)
    empty.k = np.zeros(9)
    lines = [*robots.images(), *robots.odometries(), robots.mount()]
    found = read([*lines, ("/cam/camera_info", "sensor_msgs/CameraInfo", START, empty)])
    assert found.lens is None and "no calibration" in found.notes[0]


def test_an_interrupted_recording(tmp_path):
    folder = robots.write(tmp_path / "robot", robots.robot(seconds=20.0))
    (file,) = folder.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    (folder / "metadata.yaml").unlink()
    found = read_recording(open_bag(folder))
    assert 200 < len(found.stamps) < 401 and found.path.end < START + 14 * 10**9
    assert "breaks off" in found.bag.damage["robot.mcap"]
