"""`NavigationFeatures`: what a policy's network makes of this package's observations."""

from __future__ import annotations

from typing import Any, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

__all__ = ["NavigationFeatures"]

GOAL_IMAGE = "goal_image"


class NavigationFeatures(BaseFeaturesExtractor):
    """Features of a dictionary of pictures and vectors, or of one of them alone.

    All pictures go through one small network; if one of them is `goal_image`, the difference of its features from the
    other's joins them, since what matters of a goal is how it differs from the view. All vectors are joined and go
    through one layer, whose outputs are normalised: vectors themselves are not, as the length of a goal vector is
    its distance.

    Stable-Baselines3 hands pictures over as floats in [0, 1], channels first (`VecTransposeImage` turns them in
    training, `predict` for itself); spaces with channels last are understood, too.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], image_features: int = 64, vector_features: int = 64
    ) -> None:
        """Build it.

        Args:
            observation_space: Of one environment, as Stable-Baselines3 shows it to the policy.
            image_features: Features of a picture.
            vector_features: Features of all vectors together.

        Raises:
            ValueError: An entry that is neither a picture nor a vector of floats, or pictures of unequal size.
        """
        entries = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
        images = [key for key, space in entries.items() if is_image_space(space)]
        vectors = [key for key in entries if key not in images]
        for key in vectors:
            space = entries[key]
            if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
                raise ValueError(
                    f"observation {key!r} is {space}, neither an 8-bit picture (h, w, 3) nor floats; "
                    "use obs_mode='frame' or 'pose'."
                )
        sizes = {entries[key].shape for key in images}
        if len(sizes) > 1:
            raise ValueError(f"pictures must share one size to share one network; got {sorted(sizes, key=str)}.")
        compared = GOAL_IMAGE in images and len(images) == 2
        parts = (len(images) + compared) * image_features + bool(vectors) * vector_features
        super().__init__(observation_space, parts)
        self._images, self._vectors, self._compared = images, vectors, compared
        self._single = not isinstance(observation_space, spaces.Dict)
        self._channels_last = False
        if images:
            space = cast(spaces.Box, entries[images[0]])
            size = space.shape
            self._channels_last = not is_image_space_channels_first(space)
            channels, *rest = (size[2], *size[:2]) if self._channels_last else size
            self.look = _picture_network(channels, tuple(rest), image_features)
        if vectors:
            count = sum(int(torch.tensor(entries[key].shape).prod()) for key in vectors)
            self.feel = nn.Sequential(nn.Linear(count, vector_features), nn.LayerNorm(vector_features), nn.ReLU())

    def forward(self, observations: Any) -> Tensor:
        """`(N, features_dim)` of observations `(N, ...)`."""
        given = {"": observations} if self._single else observations
        found = []
        if self._images:
            # One pass over all pictures is quicker than one for each.
            pictures = torch.cat([given[key] for key in self._images])
            if self._channels_last:
                pictures = pictures.movedim(-1, 1)
            seen = list(self.look(pictures).chunk(len(self._images)))
            if self._compared:
                goal = self._images.index(GOAL_IMAGE)
                seen.append(seen[goal] - seen[1 - goal])
            found += seen
        if self._vectors:
            found.append(self.feel(torch.cat([given[key].float().flatten(1) for key in self._vectors], 1)))
        return torch.cat(found, 1)


def _picture_network(channels: int, size: tuple[int, ...], features: int) -> nn.Module:
    """About 1.4 million multiplications for a picture of 36x64 pixels: little beside a step of the world."""
    convolutions = nn.Sequential(
        *(nn.Conv2d(channels, 16, 5, 2, 2), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()),
    )
    with torch.no_grad():
        width = convolutions(torch.zeros(1, channels, *size)).shape[1]
    return nn.Sequential(convolutions, nn.Linear(width, features), nn.LayerNorm(features), nn.ReLU())
