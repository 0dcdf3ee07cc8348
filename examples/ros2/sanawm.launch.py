"""Serve a world as a robot, and look at it in rviz2.

ros2 launch examples/ros2/sanawm.launch.py mode:=realtime seed:=3 rviz:=true
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

HERE = Path(__file__).resolve().parent


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` asks for."""
    # `sanawm` is an ordinary program and no node of an ament package; it must be on the PATH.
    world = ExecuteProcess(
        cmd=["sanawm", "ros2", "serve", "--mode", LaunchConfiguration("mode"), "--seed", LaunchConfiguration("seed")],
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(HERE / "sanawm.rviz")],
        parameters=[{"use_sim_time": True}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("mode", default_value="realtime", description="lockstep, realtime or fast"),
            DeclareLaunchArgument("seed", default_value="0", description="chooses the scene"),
            DeclareLaunchArgument("rviz", default_value="true", description="whether to open rviz2"),
            world,
            rviz,
        ]
    )
