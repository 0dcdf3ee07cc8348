#!/usr/bin/env bash
# From a phone clip to an environment, in five commands. What to film, and how far to trust it: docs/how-to/annotate.md.
#
#   pip install -e ".[annotate]"
#   examples/from_a_phone_clip.sh walk.mp4 68 1.5     horizontal field of view in degrees, metres of the phone over the floor
#
# MINUTES=60 of training, everything into OUT=my_world.
set -euo pipefail
video=$1 fov=$2 height=$3 out=${OUT:-my_world} minutes=${MINUTES:-60}

# 1. Where the camera was in every frame; OUT/clips/report/index.html says what was refused, and why.
sanawm annotate "$video" --fov "$fov" --camera-height "$height" --out "$out/clips"

# 2. A picture to begin with: the first one of the first clip.
python -c '
import sys
from PIL import Image
from sanawm_env.scenes.posed_clips import list_clips
clips = list_clips(sys.argv[1])
if not clips:
    sys.exit("no clip was accepted; open the report")
Image.fromarray(next(clips[0].frames())).save(sys.argv[2])
' "$out/clips" "$out/first.png"

# 3. The built-in world learns from the clips, half and half with its own scenes. The same line goes on.
sanawm train world --config small-on-clips --data "$out/clips" --minutes "$minutes" --out "$out/run"

# 4. A walk in it.
sanawm rollout -c "$out/run/checkpoint" --image "$out/first.png" --fov "$fov" --out "$out/walk_again.mp4"

# 5. And it is an environment.
python -c '
import sys
import gymnasium as gym
import sanawm_env
env = gym.make("SanaWM-v0", checkpoint=sys.argv[1], image=sys.argv[2], fov_deg=float(sys.argv[3]))
env.reset(seed=0)
for _ in range(5):
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
print("five random steps:", observation.shape, "at", info["c2w"][:3, 3].round(2), "m")
' "$out/run/checkpoint" "$out/first.png" "$fov"
