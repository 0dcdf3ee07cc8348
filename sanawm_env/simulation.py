"""`Simulation`: a world model with an environment's arguments, checked; what single and vector environment share."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from sanawm_env.actions import ActionMode, Controls, DeltaControls, FrameControls, KeyControls
from sanawm_env.camera.keymaps import KeyMap, get_keymap
from sanawm_env.images import ImageSource, IntrinsicsSource, StartImage, built_in, draw_seeds, prepare, read_image
from sanawm_env.observations import Observation, ObsMode, describe, observation_space, observe
from sanawm_env.options import as_device, as_dtype, as_moment, check_options, sampler_sigmas
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.snapshot import EnvSnapshot
from sanawm_env.state import WorldState
from sanawm_env.world import WorldModel

__all__ = ["Moment", "Opening", "Simulation", "check_choice"]

Moment: TypeAlias = "EnvSnapshot | WorldState | str | Path"


@dataclass(frozen=True, eq=False)
class Opening:
    """How one episode begins, once the wishes for it are known to be good."""

    moment: EnvSnapshot | None = None
    """Where to go on from, in place of a first frame."""
    start: StartImage | None = None
    """The first frame; None leaves it to the episode's random numbers."""


class Simulation:
    """The parts of an environment that stay the same from episode to episode.

    It says how episodes begin, how actions steer the camera and how frames are sampled. It holds no rollout, so
    that environments and their forks share one. Pickling one made from a checkpoint's name or folder stores
    only that.
    """

    def __init__(
        self,
        checkpoint: str | Path | WorldModel = DEFAULT_CHECKPOINT,
        *,
        image: ImageSource | None = None,
        prompt: str | None = None,
        intrinsics: IntrinsicsSource | None = None,
        fov_deg: float | None = None,
        chunk_frames: int | None = None,
        sampler_steps: int | None = None,
        sigmas: Sequence[float] | None = None,
        max_translation: float | None = None,
        max_rotation: float | None = None,
        action_mode: ActionMode = "delta",
        keymap: str | KeyMap = "nvlabs",
        obs_mode: ObsMode = "frame",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        batched: bool | None = None,
    ) -> None:
        """See `SanaWMEnv` for the arguments; `batched` is that of `WorldModel`, None leaves a loaded one's as it is.

        Raises:
            ValueError, FileNotFoundError: An argument that cannot be used; names the mend.
        """
        check_choice("action_mode", action_mode, ("delta", "per_frame", "keys"))
        check_choice("obs_mode", obs_mode, ("frame", "dict"))
        if isinstance(checkpoint, WorldModel):
            if device != "auto" or dtype is not None:
                raise ValueError("a WorldModel has its device and dtype; leave those two arguments out.")
            self._source: tuple[Any, ...] | None = None
            self.model = _with_batching(checkpoint, batched)
        else:
            self._source = (checkpoint, as_device(device), as_dtype(dtype), batched)
            self.model = _load(*self._source)
        config = self.model.config

        chunk = config.chunk_frames if chunk_frames is None else chunk_frames
        if not 1 <= chunk <= config.max_chunk_frames:
            raise ValueError(f"chunk_frames must lie in 1..{config.max_chunk_frames} for this checkpoint; got {chunk}.")
        self.frames_per_step: int = chunk * self.model.vae.temporal_stride
        """Pixel frames F of one step."""
        self.step_seconds: float = self.frames_per_step / config.fps
        """World time of one step."""
        self.sigmas = sampler_sigmas(config.sigmas, sampler_steps, sigmas)
        """Noise levels of the sampler."""
        self.controls = self._make_controls(action_mode, keymap, max_translation, max_rotation)
        """From actions to poses; also the action space."""
        self.obs_mode: ObsMode = obs_mode
        self.observation_space = observation_space(obs_mode, self.frames_per_step, config.height, config.width)
        """Of one environment."""

        self._image = None if image is None else read_image(image)
        self._prompt, self._intrinsics, self._fov_deg = prompt, intrinsics, fov_deg
        if intrinsics is not None and fov_deg is not None:
            raise ValueError("give either intrinsics or fov_deg, not both: they may contradict each other.")
        if fov_deg is not None and not 0 < fov_deg < 180:
            raise ValueError(f"fov_deg must lie between 0 and 180 degrees; got {fov_deg}.")
        if self._image is not None:
            self._start_image(self._image, intrinsics)  # a bad camera should fail here and not at reset
        elif intrinsics is not None:
            raise ValueError("intrinsics describe an image; give image as well, or use fov_deg.")
        self._prompt_warned = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the components of an action in mode `keys`; empty in the other modes."""
        return self.controls.keys if isinstance(self.controls, KeyControls) else ()

    # -- the beginning of episodes ------------------------------------------------------------------------

    def opening(self, options: dict[str, Any] | None) -> Opening:
        """Check the `options` of one environment's reset, and read what they name.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used. Nothing has changed then.
        """
        given = check_options(options)
        if "state" in given:
            past = self.adopt(given["state"])
            return Opening(moment=EnvSnapshot(past.state, 0, past.keyboard, past.frames, past.frame_c2w))
        start = self._given_start(given)
        self._check_prompt(given.get("prompt", self._prompt))
        return Opening(start=start)

    def begin(self, openings: Sequence[Opening], rngs: Sequence[np.random.Generator]) -> list[EnvSnapshot]:
        """Begin one episode per opening.

        Args:
            openings: Of `opening`.
            rngs: Random numbers of each episode; one that goes on from a moment draws none.
        """
        begun = [opening.moment for opening in openings]
        fresh = [i for i, moment in enumerate(begun) if moment is None]
        if fresh:
            starts, seeds = [], []
            for i in fresh:
                scene, noise = draw_seeds(rngs[i])
                config, start = self.model.config, openings[i].start
                starts.append(built_in(scene, config.width, config.height, self._fov_deg) if start is None else start)
                seeds.append(noise)
            images, cameras = np.stack([s.image for s in starts]), np.stack([s.intrinsics for s in starts])
            state, frames = self.model.start(images, cameras, seeds)
            for k, i in enumerate(fresh):
                one = state if len(fresh) == 1 else state.select([k])
                begun[i] = EnvSnapshot(one, 0, None, frames[k], np.eye(4)[None])
        return [moment for moment in begun if moment is not None]

    def adopt(self, moment: Moment) -> EnvSnapshot:
        """Check that a state belongs to this world, and bring it to the model's device.

        Raises:
            ValueError, FileNotFoundError: It does not, or there is no usable file.
        """
        snapshot = as_moment(moment, self.model.checkpoint, self.frames_per_step)
        state = snapshot.state.to(self.model.device) if snapshot.state.device != self.model.device else snapshot.state
        self.model.check_state(state)
        return EnvSnapshot(state, snapshot.elapsed_steps, snapshot.keyboard, snapshot.frames, snapshot.frame_c2w)

    def show(self, moment: EnvSnapshot) -> tuple[Observation, dict[str, Any]]:
        """Observation and info of a moment, in memory of their own."""
        return observe(moment, self.obs_mode, self.frames_per_step), describe(moment, self.model.config.fps)

    # -- parts --------------------------------------------------------------------------------------------

    def _make_controls(
        self, mode: ActionMode, keymap: str | KeyMap, max_translation: float | None, max_rotation: float | None
    ) -> Controls:
        frames, config = self.frames_per_step, self.model.config
        if mode == "keys":
            if max_translation is not None or max_rotation is not None:
                raise ValueError(
                    "in action mode 'keys' the key map sets the speeds; change them with dataclasses.replace("
                    "get_keymap(...), translation_speed=..., rotation_speed_deg=...) and pass that as keymap."
                )
            return KeyControls(frames, get_keymap(keymap))
        reach = config.max_translation * frames if max_translation is None else max_translation
        turn = config.max_rotation * frames if max_rotation is None else max_rotation
        return (DeltaControls if mode == "delta" else FrameControls)(frames, reach, turn)

    def _start_image(self, image: ImageSource, intrinsics: IntrinsicsSource | None) -> StartImage:
        config = self.model.config
        return prepare(
            image,
            config.width,
            config.height,
            intrinsics=intrinsics,
            fov_deg=self._fov_deg if intrinsics is None else None,
            default_fov_deg=config.default_fov_deg,
        )

    def _given_start(self, given: dict[str, Any]) -> StartImage | None:
        """The first frame that options or arguments ask for; None leaves it to the random numbers."""
        image = given.get("image")
        if image is not None:
            return self._start_image(image, given.get("intrinsics"))
        if self._image is not None:
            return self._start_image(self._image, given.get("intrinsics", self._intrinsics))
        if given.get("intrinsics") is not None:
            raise ValueError("option 'intrinsics' describes an image; give the option 'image' as well.")
        return None

    def _check_prompt(self, prompt: str | None) -> None:
        if prompt is not None and not isinstance(prompt, str):
            raise ValueError(f"prompt must be a string; got {type(prompt).__name__}.")
        if self.model.config.model.caption_channels:
            raise ValueError(
                f"checkpoint {self.model.config.name!r} is conditioned on text embeddings, which this version "
                "cannot make from a prompt; begin with WorldModel.start(text=...) and pass the state to "
                "reset(options={'state': ...})."
            )
        if prompt and not self._prompt_warned:
            warnings.warn(
                f"the prompt has no effect: checkpoint {self.model.config.name!r} was trained without text.",
                stacklevel=4,
            )
            self._prompt_warned = True

    # -- copies -------------------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Simulation:
        return self  # nothing in it changes

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._source is None else self.__dict__ | {"model": None}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        if self._source is not None:
            self.model = _load(*self._source)


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse an argument that is none of the allowed values.

    Raises:
        ValueError: It is not.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")


def _load(checkpoint: str | Path, device: torch.device, dtype: torch.dtype | None, batched: bool | None) -> WorldModel:
    return WorldModel.load(checkpoint, device, dtype, batched=batched)


def _with_batching(model: WorldModel, batched: bool | None) -> WorldModel:
    """The model, or one of the same modules that batches otherwise: the given one may have other users."""
    if batched is None or batched == model.batched:
        return model
    twin = copy.copy(model)
    twin.batched = batched
    return twin
