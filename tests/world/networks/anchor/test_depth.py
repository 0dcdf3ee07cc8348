"""The depth network: its shapes and limits, and what it is asked to guess."""

import math

import torch

from sanawm_env.world.networks.anchor.depth import FAR, NEAR, DepthNet, log_disparity

CAMERA = torch.tensor([[60.0, 60.0, 24.0, 16.0]])


def test_half_resolution_and_within_bounds():
    torch.manual_seed(0)
    net = DepthNet().eval()
    with torch.no_grad():
        net.head.bias += 0.5
        image = torch.rand(3, 3, 32, 48) * 2 - 1
        disparity = net.disparity(image, CAMERA.repeat(3, 1))
        assert disparity.shape == (3, 16, 24)
        assert (disparity >= 0).all()
        assert (disparity <= 1 / NEAR).all()
        assert torch.allclose(disparity, (net(image, CAMERA.repeat(3, 1)).exp() - FAR).clamp(0, 1 / NEAR))


def test_the_field_of_view_matters():
    torch.manual_seed(0)
    net, image = DepthNet().eval(), torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        assert not torch.allclose(net(image, CAMERA), net(image, CAMERA * torch.tensor([2.0, 2.0, 1.0, 1.0])))


def test_sky_and_contact_are_finite_targets():
    target = log_disparity(torch.tensor([math.inf, 2.0, 0.0]))
    assert torch.allclose(target, torch.tensor([FAR, 0.5 + FAR, 1 / NEAR + FAR]).log())
    assert torch.allclose(target.exp() - FAR, torch.tensor([0.0, 0.5, 1 / NEAR]), atol=1e-5)
