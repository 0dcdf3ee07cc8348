"""Two losses that turn a many-step world into a few-step one, both along walks and from its own memory.

* `ode_loss`: the student predicts, from points on the teacher's ODE trajectory, where that trajectory ends
  (CausVid, Yin et al. 2025, section 4.2). A start for the second stage.
* `DistributionMatching`: the student rolls out by itself; the difference between what the teacher and a critic
  trained on the student's samples would make of them, noised again, is its gradient (DMD2, Yin et al. 2024; on
  own rollouts: Self Forcing, Huang et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sanawm_env.training.clips.walks import Segment
from sanawm_env.world.networks.cache import ModelCache
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.sampler import velocity

Camera = dict[str, Tensor]


@dataclass(frozen=True)
class Net:
    """A transformer and how its output is read."""

    model: SanaWMTransformer
    preconditioned: bool

    def clean(self, x: Tensor, level: Tensor, memory: ModelCache, camera: Camera) -> tuple[Tensor, Tensor]:
        """Velocity and predicted data at levels `(B,)` or `()`, fp32."""
        per_frame = level.expand(x.shape[0])[:, None].expand(-1, x.shape[2])
        v, _ = velocity(self.model, x, per_frame, preconditioned=self.preconditioned, cache=memory, **camera)
        v = v.float()
        return v, x - per_frame[:, None, :, None, None] * v

    def commit(self, x: Tensor, memory: ModelCache, camera: Camera) -> ModelCache:
        """The memory after a finished chunk."""
        _, following = self.model(x, x.new_zeros(x.shape[0], x.shape[2]), cache=memory, commit=True, **camera)
        assert following is not None
        return following


def chunks_of(segment: Segment, chunk: int) -> Iterator[tuple[Tensor, Camera]]:
    """True latents and camera inputs of one chunk after another."""
    for first in range(0, segment.latents.shape[2], chunk):
        part = slice(first, first + chunk)
        camera = {
            name: value[:, part] if name == "raymap" else value[:, :, part] for name, value in segment.camera.items()
        }
        yield segment.latents[:, :, part], camera


def substeps(sigmas: Sequence[float], count: int) -> list[list[float]]:
    """Split every interval of a schedule for a finer solver.

    Args:
        sigmas: The student's noise levels, ending in 0.
        count: Teacher steps in all; each interval gets an equal share, at least one.

    Returns:
        For each interval its levels, both ends included.
    """
    each = max(1, round(count / (len(sigmas) - 1)))
    return [[a + (b - a) * i / each for i in range(each + 1)] for a, b in pairwise(sigmas)]


def ode_loss(
    student: Net,
    teacher: Net,
    segment: Segment,
    memories: tuple[ModelCache, ModelCache],
    chunk: int,
    sigmas: Sequence[float],
    teacher_steps: int,
    generator: torch.Generator,
) -> tuple[Tensor, tuple[ModelCache, ModelCache]]:
    """Squared error between the student's prediction and the end of the teacher's trajectory.

    Args:
        student: Trained; its memory carries gradient within the segment.
        teacher: Frozen.
        segment: Walks to follow; only their cameras and first frames count.
        memories: Student's and teacher's.
        chunk: Latent frames per chunk.
        sigmas: The student's schedule.
        teacher_steps: Model calls of the teacher per chunk.
        generator: Of noise.

    Returns:
        The loss and the memories after the segment.
    """
    mine, theirs = memories
    losses = []
    for truth, camera in chunks_of(segment, chunk):
        x = torch.randn(truth.shape, generator=generator).to(truth.device)
        points = []
        with torch.no_grad():
            for levels in substeps(sigmas, teacher_steps):
                points.append(x)
                for now, following in pairwise(levels):
                    v, _ = teacher.clean(x, torch.tensor(now, device=x.device), theirs, camera)
                    x = x - (now - following) * v
            theirs = teacher.commit(x, theirs, camera)
        pick = torch.randint(len(points), (len(x),), generator=generator)
        start = torch.stack([points[p][i] for i, p in enumerate(pick.tolist())])
        level = torch.tensor([sigmas[p] for p in pick.tolist()], dtype=torch.float32, device=x.device)
        _, guess = student.clean(start, level, mine, camera)
        losses.append((guess - x).square().mean())
        mine = student.commit(x, mine, camera)
    return torch.stack(losses).mean(), (mine, theirs)


@dataclass(frozen=True)
class Match:
    """What one segment of distribution matching gave."""

    student: Tensor | None
    """Loss whose gradient is the student's; None when only the critic learns."""
    critic: Tensor
    """Flow-matching loss of the critic on the student's samples."""
    distance: float
    """Mean absolute difference of teacher and critic, the length of the student's gradient."""


class DistributionMatching:
    """Self-forcing distribution matching along walks."""

    def __init__(
        self,
        student: Net,
        teacher: Net,
        critic: Net,
        sigmas: Sequence[float],
        generator: torch.Generator,
        *,
        shift: float,
        truth: float,
    ) -> None:
        """Join the three networks.

        Args:
            student: Trained by the returned `Match.student`.
            teacher: Frozen; scores real data.
            critic: Trained by `Match.critic`; scores the student's samples.
            sigmas: The student's schedule.
            generator: Of noise, levels and exits.
            shift: Timestep shift of the levels at which scores are compared.
            truth: Weight of the squared error to the true frames, which keeps rollouts in their scene.
        """
        self.student, self.teacher, self.critic = student, teacher, critic
        self.sigmas, self.generator, self.shift, self.truth = tuple(sigmas), generator, shift, truth

    def __call__(
        self, segment: Segment, memories: tuple[ModelCache, ModelCache, ModelCache], chunk: int, *, learn: bool
    ) -> tuple[Match, tuple[ModelCache, ModelCache, ModelCache]]:
        """One segment.

        Args:
            segment: Walks to follow.
            memories: Of student, teacher and critic, without gradient.
            chunk: Latent frames per chunk.
            learn: Whether the student learns too, or the critic alone.

        Returns:
            The losses and the memories after the segment.
        """
        mine, real, fake = memories
        student_losses, critic_losses, lengths = [], [], []
        for truth, camera in chunks_of(segment, chunk):
            made = self.sample(truth.shape, truth.device, mine, camera, learn=learn)
            fixed = made.detach()
            xt, level, noise = self._noised(fixed)
            v, _ = self.critic.clean(xt, level, fake, camera)
            critic_losses.append((v - (noise - fixed)).square().mean())
            if learn:
                gradient, length = self._gradient(fixed, real, fake, camera)
                lengths.append(length)
                # Its derivative by `made` is the gradient itself.
                pull = 0.5 * (made - (fixed - gradient)).square().mean()
                student_losses.append(pull + self.truth * (made - truth).square().mean())
            with torch.no_grad():
                mine = self.student.commit(fixed, mine, camera)
                real = self.teacher.commit(fixed, real, camera)
                fake = self.critic.commit(fixed, fake, camera)
        loss = torch.stack(student_losses).mean() if learn else None
        match = Match(loss, torch.stack(critic_losses).mean(), sum(lengths) / max(1, len(lengths)))
        return match, (mine, real, fake)

    def sample(
        self, shape: torch.Size, device: torch.device, memory: ModelCache, camera: Camera, *, learn: bool
    ) -> Tensor:
        """A chunk of the student: a random number of its steps, the gradient through the last one only."""
        x = torch.randn(shape, generator=self.generator).to(device)
        levels = torch.tensor(self.sigmas, dtype=torch.float32, device=device)
        last = int(torch.randint(len(self.sigmas) - 1, (), generator=self.generator))
        with torch.no_grad():
            for now, following in pairwise(levels[: last + 1]):
                v, _ = self.student.clean(x, now, memory, camera)
                x = x - (now - following) * v
        with torch.set_grad_enabled(learn):
            return self.student.clean(x, levels[last], memory, camera)[1]

    def _noised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u = 0.02 + 0.96 * torch.rand(len(x), generator=self.generator).to(x.device)
        level = self.shift * u / (1 + (self.shift - 1) * u)
        noise = torch.randn(x.shape, generator=self.generator).to(x.device)
        wide = level[:, None, None, None, None]
        return (1 - wide) * x + wide * noise, level, noise

    @torch.no_grad()
    def _gradient(self, x: Tensor, real: ModelCache, fake: ModelCache, camera: Camera) -> tuple[Tensor, float]:
        xt, level, _ = self._noised(x)
        _, wanted = self.teacher.clean(xt, level, real, camera)
        _, own = self.critic.clean(xt, level, fake, camera)
        # DMD's normalisation: the step does not depend on how far the noise level lets the teacher move things.
        size = (x - wanted).abs().mean((1, 2, 3, 4), keepdim=True).clamp_min(1e-3)
        return (own - wanted) / size, float((own - wanted).abs().mean())
