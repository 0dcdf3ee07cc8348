"""Our Triton kernels give what plain torch gives: on CUDA, and interpreted on the CPU (`TRITON_INTERPRET=1`)."""

import importlib.util
import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not os.environ.get("REQUIRE_KERNELS"):
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (.ci/gpu installs it)", allow_module_level=True)
    if not INTERPRETED and not torch.cuda.is_available():
        # Not set from here: Triton looks at it when it is first imported, and torch may have done so.
        pytest.skip("neither CUDA nor TRITON_INTERPRET=1", allow_module_level=True)
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]

from sanawm_env.camera.rays import invert_ray_matrices, ray_matrices  # noqa: E402
from sanawm_env.world.accel.kernels import rows, scan  # noqa: E402
from sanawm_env.world.networks import gdn, layers  # noqa: E402
from sanawm_env.world.networks.layers import RMSNorm  # noqa: E402
from sanawm_env.world.networks.position import RayFrames, rotations  # noqa: E402

SLOTS, HEIGHT, WIDTH, HEADS, DIM = 2, 2, 3, 3, 24
TOKENS, CHANNELS = HEIGHT * WIDTH, HEADS * DIM
EXACT = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(autouse=True)
def _place():
    torch.manual_seed(0)
    with torch.device("cpu" if INTERPRETED else "cuda"):
        yield


def tokens(frames, width=CHANNELS, dtype=torch.float32):
    return torch.randn(SLOTS, frames, TOKENS, width).to(dtype)


def norm():
    layer = RMSNorm(CHANNELS, 1e-5)
    layer.weight.data.uniform_(0.5, 1.5)
    return layer.requires_grad_(False)


def rays(frames):
    pose = torch.eye(4).repeat(SLOTS, frames, 1, 1)
    pose[..., :3, :3] = torch.linalg.qr(torch.randn(SLOTS, frames, 3, 3)).Q
    pose[..., :3, 3] = torch.randn(SLOTS, frames, 3)
    camera = torch.tensor([2.0, 2.0, 1.5, 1.0]).expand(SLOTS, frames, 4)
    matrices = ray_matrices(torch.cat((pose.flatten(2), camera), -1), HEIGHT, WIDTH).view(SLOTS, frames, TOKENS, 4, 4)
    return RayFrames(matrices, invert_ray_matrices(matrices), turns(frames)[1])


def turns(frames):
    return rotations(torch.arange(frames).expand(SLOTS, frames) + 5, HEIGHT, WIDTH, DIM)


@pytest.mark.parametrize(("frames", "columns"), [(1, DIM), (3, DIM), (4, DIM), (3, 1)])
def test_scan(frames, columns):
    decay = torch.rand(SLOTS, frames, HEADS)
    erase = torch.randn(SLOTS, frames, HEADS, DIM, DIM) / DIM
    write, start = torch.randn(SLOTS, frames, HEADS, DIM, columns), torch.randn(SLOTS, HEADS, DIM, columns)
    before = start.clone()
    found = scan.frame_scan(decay, erase, write, start, [3] * frames)
    torch.testing.assert_close(found, gdn.frame_scan(decay, erase, write, start, [3] * frames), **EXACT)
    assert torch.equal(start, before) and found[1].data_ptr() != start.data_ptr()


def test_a_call_of_several_chunks_is_plain():
    decay, erase = torch.rand(1, 3, 1), torch.randn(1, 3, 1, 8, 8)
    write, start = torch.randn(1, 3, 1, 8, 8), torch.randn(1, 1, 8, 8)
    expected = gdn.frame_scan(decay, erase, write, start, [0, 0, 1])
    assert all(map(torch.equal, scan.frame_scan(decay, erase, write, start, [0, 0, 1]), expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_of_a_part_of_a_wider_product(dtype):
    x, layer = tokens(2, 3 * CHANNELS, dtype).chunk(3, -1)[1], norm()
    expected = layers.features(x, layer, HEADS, 0.5, turns(2)[0])
    found = rows.features(x, layer, HEADS, 0.5, turns(2)[0])
    torch.testing.assert_close(found, expected, **(EXACT if dtype == torch.float32 else {"atol": 1e-2, "rtol": 1e-2}))
    assert all(part.shape == (SLOTS, 2, TOKENS, HEADS, DIM) for part in found)


@pytest.mark.parametrize("downscale", [False, True])
def test_camera_features(downscale):
    q, k, v = tokens(2, 3 * CHANNELS).chunk(3, -1)
    norms, frame = (norm(), norm()), rays(2)
    expected = layers.camera_features(q, k, v, norms, HEADS, 0.3, frame, downscale=downscale)
    found = rows.camera_features(q, k, v, norms, HEADS, 0.3, frame, downscale=downscale)
    torch.testing.assert_close(found, expected, **EXACT)
    assert downscale or expected.discount.max() > 1


@pytest.mark.parametrize("by_heads", [False, True])
def test_leave_world(by_heads):
    x, frame = torch.randn(SLOTS, 2, TOKENS, HEADS, DIM), rays(2)
    if by_heads:  # as a product of queries and states leaves it
        x = x.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(
        rows.leave_world(x, frame, torch.float32), layers.leave_world(x, frame, torch.float32), **EXACT
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gates_and_modulation(dtype):
    close = EXACT if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.02}
    mixed, wide = tokens(2), tokens(2, 2 * CHANNELS, dtype)
    gate = wide[..., CHANNELS:]
    torch.testing.assert_close(rows.gated(mixed, gate, dtype), layers.gated(mixed, gate, dtype), **close)
    torch.testing.assert_close(rows.gated_halves(wide), layers.gated_halves(wide), **close)
    shift, scale = torch.randn(SLOTS, 2, 2, 1, CHANNELS).to(dtype).unbind(2)
    found = rows.modulated(gate, shift, scale)
    torch.testing.assert_close(found, layers.modulated(gate, shift, scale), **close)
    assert found.dtype == dtype
