#!/usr/bin/env bash
# From a robot's bag of ROS 2 (raw images, camera_info, odometry, tf_static) to a world that the robot can drive in again.
#
#   pip install -e ".[annotate,ros]"
#   examples/from_a_robots_bag.sh walk.mcap
#
# MINUTES=60 of training, everything into OUT=robot_world. No bag at hand? `sanawm ros2 record --out walk.mcap` makes one.
set -euo pipefail
bag=$1 out=${OUT:-robot_world} minutes=${MINUTES:-60}

# 1. The robot's own poses, checked against how points move in its pictures: docs/how-to/annotate.md.
sanawm annotate "$bag" --out "$out/clips"

# 2. The built-in world learns from the clips, half and half with its own scenes. The same line goes on.
sanawm train world --config small-on-clips --data "$out/clips" --minutes "$minutes" --out "$out/run"

# 3. The robot's path again, in the world: its answer as a bag, and how near its pictures come to the robot's.
sanawm ros2 replay "$bag" -c "$out/run/checkpoint" --out "$out/replayed"
cat "$out/replayed/replay.json"
