"""`bc:<file>`: behaviour cloning, the imitation baseline."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError, safe_open
from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.demonstrations import IMAGE, Demonstrations, action_limits
from torch import Tensor, nn
from torch.nn import functional as F

from sanawm_env.files import save_tensors

__all__ = ["BehaviourClone", "CloneConfig", "CloneNet", "train"]

_FORMAT = "sanawm_env.behaviour_clone"


@dataclass(frozen=True)
class CloneConfig:
    """What a network sees and says; stored in its file."""

    entries: tuple[tuple[str, tuple[int, ...]], ...]
    """Name and shape of the observation's entries that it reads, in order."""
    image: tuple[int, ...] | None
    """`(h, w, 3)` of the picture that it looks at, or None."""
    choices: int
    """Discrete actions; 0 for pose deltas."""
    action_size: int
    """Components of a pose delta, 6 or 7; 0 for discrete actions."""
    hidden: int = 128
    """Width of the two hidden layers."""
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Least and greatest value of every component of a pose delta; None if unknown, then [-1, 1]."""


class CloneNet(nn.Module):
    """Two hidden layers on the standardised entries and, if asked for, the features of a small picture network."""

    mean: Tensor
    scale: Tensor
    middle: Tensor | None
    reach: Tensor | None

    def __init__(self, config: CloneConfig) -> None:
        """Build an untrained one."""
        super().__init__()
        self.config = config
        size = sum(int(np.prod(shape)) for _, shape in config.entries)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        ends = None if config.limits is None else torch.tensor(config.limits)
        self.register_buffer("middle", None if ends is None else (ends[1] + ends[0]) / 2, persistent=False)
        self.register_buffer("reach", None if ends is None else (ends[1] - ends[0]) / 2, persistent=False)
        self.look: nn.Module | None = None
        features = 0
        if config.image is not None:
            features = 64
            self.look = nn.Sequential(
                *(nn.Conv2d(3, 16, 5, 4, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
                *(nn.Conv2d(32, features, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            )
        outputs = config.choices or config.action_size
        self.decide = nn.Sequential(
            *(nn.Linear(size + features, config.hidden), nn.ReLU()),
            *(nn.Linear(config.hidden, config.hidden), nn.ReLU(), nn.Linear(config.hidden, outputs)),
        )

    def forward(self, numbers: Tensor, image: Tensor | None = None) -> Tensor:
        """Logits `(N, choices)`, or pose deltas `(N, action_size)` within the limits.

        Args:
            numbers: `(N, size)` the entries, flat and in order.
            image: `(N, h, w, 3)` uint8.
        """
        features = [(numbers - self.mean) / self.scale]
        if self.look is not None:
            assert image is not None
            features.append(self.look(image.movedim(-1, 1).float() / 127.5 - 1))
        out: Tensor = self.decide(torch.cat(features, -1))
        if self.config.choices:
            return out
        out = torch.tanh(out)
        return out if self.middle is None or self.reach is None else self.middle + self.reach * out


def train(
    data: Demonstrations,
    epochs: int = 50,
    batch: int = 64,
    learning_rate: float = 1e-3,
    hidden: int = 128,
    seed: int = 0,
) -> tuple[BehaviourClone, list[float]]:
    """Fit a network to demonstrations: mean squared error of pose deltas, or cross-entropy of discrete actions.

    Args:
        data: Of `collect`.
        epochs: Passes over it.
        batch: Pairs per step of Adam.
        learning_rate: Of Adam.
        hidden: Width of the hidden layers.
        seed: Of the weights and of the order.

    Returns:
        The policy, and the mean loss of every epoch.

    Raises:
        ValueError: No data, or a setting that is out of range.
    """
    if not len(data) or epochs < 1 or batch < 1 or hidden < 1 or not learning_rate > 0:
        raise ValueError("training needs at least one pair, epoch, pair per batch and unit, and a positive rate.")
    image = data.entries.get(IMAGE)
    named = [(name, value) for name, value in data.entries.items() if name != IMAGE]
    discrete = data.choices > 0
    config = CloneConfig(
        entries=tuple((name, value.shape[1:]) for name, value in named),
        image=None if image is None else image.shape[1:],
        choices=data.choices,
        action_size=0 if discrete else data.actions.shape[1],
        hidden=hidden,
        limits=data.limits,
    )
    numbers = torch.from_numpy(np.concatenate([value.reshape(len(data), -1) for _, value in named], axis=1))
    pictures = None if image is None else torch.from_numpy(image)
    wanted = torch.from_numpy(data.actions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = CloneNet(config)
    net.mean.copy_(numbers.mean(0))
    # An entry that never changes says nothing; it must not be blown up.
    deviation = numbers.std(0, correction=0)
    net.scale.copy_(torch.where(deviation > 1e-6, deviation, torch.ones(())))
    adam = torch.optim.Adam(net.parameters(), lr=learning_rate)
    order, losses = torch.Generator().manual_seed(seed), []
    for _ in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(data), generator=order).split(batch):
            out = net(numbers[chosen], None if pictures is None else pictures[chosen])
            loss = F.cross_entropy(out, wanted[chosen]) if discrete else F.mse_loss(out, wanted[chosen])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(chosen)
        losses.append(total / len(data))
    return BehaviourClone(net.eval()), losses


class BehaviourClone:
    """Does what a `CloneNet` says: its pose delta, or its likeliest discrete action."""

    def __init__(self, net: CloneNet) -> None:
        """Take a trained network."""
        self.net = net

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        config, space = self.net.config, env.action_space
        fits = space.n == config.choices if isinstance(space, spaces.Discrete) else space.shape == (config.action_size,)
        if not fits:
            learnt = f"{config.choices} discrete actions" if config.choices else f"Box({config.action_size},)"
            raise ValueError(f"this clone learnt {learnt}, but the environment takes {space}; train one for it.")
        if None not in (config.limits, limits := action_limits(space)) and limits != config.limits:
            raise ValueError(
                f"this clone learnt actions within {config.limits}, but the environment takes {space}; wrap it as it "
                "was for the demonstrations."
            )
        wanted = dict(config.entries) | ({} if config.image is None else {IMAGE: config.image})
        for name, shape in wanted.items():
            got = np.shape(observation[name]) if isinstance(observation, dict) and name in observation else None
            if got != tuple(shape):
                raise ValueError(
                    f"this clone reads the observation's {name!r} of shape {tuple(shape)}; got "
                    f"{'none' if got is None else got}. Use the task, obs_mode and obs_size that it was trained with."
                )

    @torch.no_grad()
    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        config = self.net.config
        parts = [np.asarray(observation[name], np.float32).ravel() for name, _ in config.entries]
        image = None if config.image is None else torch.from_numpy(np.array(observation[IMAGE]))[None]
        out = self.net(torch.from_numpy(np.concatenate(parts))[None], image)[0]
        if config.choices:
            return int(out.argmax())
        return out.numpy() if config.limits is None else out.numpy().clip(*np.asarray(config.limits, np.float32))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, which `load` and `make_policy("bc:<path>")` read."""
        metadata = {"format": _FORMAT, "config": json.dumps(asdict(self.net.config))}
        save_tensors(path, self.net.state_dict(), metadata)

    @classmethod
    def load(cls, path: str | Path) -> BehaviourClone:
        """Read a file of `save`.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not such a file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file {path}; train a clone with sanawm_env.policies.imitation and save it.")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}
            if metadata.get("format") != _FORMAT:
                raise ValueError("another kind of file")
            values = json.loads(metadata["config"])
            values["entries"] = tuple((name, tuple(shape)) for name, shape in values["entries"])
            values["image"] = None if values["image"] is None else tuple(values["image"])
            limits = values.get("limits")  # files of before have none
            values["limits"] = None if limits is None else tuple(map(tuple, limits))
            net = CloneNet(CloneConfig(**values))
            net.load_state_dict(weights)
        except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
            raise ValueError(f"{path} is no behaviour clone ({error}); write one with BehaviourClone.save.") from None
        return cls(net.eval())
