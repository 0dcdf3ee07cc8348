"""What each request does to a session; steps, which go many at once, are in `steps`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sanawm_env.envs.slots import Slots
from sanawm_env.envs.snapshot import EnvSnapshot
from sanawm_env.server import protocol, wire
from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.pasts import Beginning, Past, past_of, remember
from sanawm_env.server.sessions.session import Session, content, refusing
from sanawm_env.server.sessions.snapshots import load_moment, remove_moment, save_moment

if TYPE_CHECKING:
    from sanawm_env.server.sessions.host import Host

__all__ = ["OPERATIONS", "reset_options"]

Answer = dict[str, Any]


def _reset(host: Host, session: Session, message: protocol.Reset, payload: bytes) -> Answer:
    line, text = content(message)
    if (known := session.repeated(message, text)) is not None:
        return known
    now = session.begin(message.seed, reset_options(host, message.options, session))
    if message.seed is not None and message.options.get("state") is None:
        remember(now.only, Past(Beginning(session.settings, message.seed, message.options)))
    return _entered(host, session, now, line, text, {"rng": session.rng.bit_generator.state})


def _restore(host: Host, session: Session, message: protocol.Restore, payload: bytes) -> Answer:
    line, text = content(message)
    if (known := session.repeated(message, text)) is not None:
        return known
    source = session.id if message.source is None else message.source
    moment = host.store.moment(source, message.snapshot)
    with refusing():
        now = Slots.of([session.simulator.adopt(moment)])
    past = past_of(moment)
    if past is not None and past.beginning.settings == session.settings:
        remember(now.only, past)
    session.tree.present = message.snapshot if source == session.id else None
    return _entered(host, session, now, line, text, {})


def _configure(host: Host, session: Session, message: protocol.Configure, payload: bytes) -> Answer:
    line, text = content(message)
    if (known := session.repeated(message, text)) is not None:
        return known
    settings = session.settings | message.settings
    simulator = host.simulators.get(settings)
    options: dict[str, Any] = {"state": session.require().only}
    if message.goal is not None:
        options["goal"] = _numbers(message.goal)
    session.simulator, session.settings = simulator, settings  # `whole` puts them back
    now = session.begin(None, options)
    extra = {"rng": session.rng.bit_generator.state, "settings_now": settings}
    return _entered(host, session, now, line, text, extra)


def _entered(host: Host, session: Session, now: Slots, line: Answer, text: str, extra: Answer) -> Answer:
    """Make a moment the present that no step led to; it is on the disk before the operation counts."""
    path = session.journal.moment(session.n + 1)
    save_moment(now.only, path)
    try:
        answer = session.entered(now) | {"rng": extra.get("rng")}
        answer = session.done(line | extra, text, answer)
    except BaseException:
        remove_moment(path)  # or it would be taken for that of another operation with this number
        raise
    session.saved = session.n
    host.store.tidy(session, session.n)
    return answer


def _snapshot(host: Host, session: Session, message: protocol.Snapshot, payload: bytes) -> Answer:
    line, text = content(message)
    if (known := session.repeated(message, text)) is not None:
        return known
    here = session.require().only
    host.store.make_room(here.nbytes)
    node = session.snapshot(message.name, message.automatic)
    host.store.write(save_moment, here, session.tree.path(node.id))
    return session.done(line | {"node": node.to_dict()}, text, {"type": "snapshot", **node.to_dict()})


def _open(host: Host, session: Session, message: protocol.Open, payload: bytes) -> Answer:
    line, text = content(message, payload)
    if (known := session.repeated(message, text)) is not None:
        return known
    host.store.make_room(len(payload))
    path = session.journal.folder / "opened.safetensors"
    path.write_bytes(payload)
    try:
        with refusing():
            moment = session.simulator.adopt(load_moment(path))
    except ServerError as error:
        raise ServerError("invalid", str(error).replace(str(path), "the world file")) from None
    finally:
        path.unlink()
    node = session.snapshot("opened", False, moment)
    save_moment(moment, session.tree.path(node.id))
    return session.done(line | {"node": node.to_dict()}, text, {"type": "snapshot", **node.to_dict()})


def _fork(host: Host, session: Session, message: protocol.Fork, payload: bytes) -> Answer:
    line, text = content(message)
    if (known := session.repeated(message, text)) is not None:
        return known
    if not 1 <= message.count <= 64:
        raise ServerError("invalid", f"count lies in 1..64; got {message.count}.")
    moment = session.require().only if message.snapshot is None else session.tree.moment(message.snapshot)
    host.store.require_sessions(message.count)
    twins = [host.store.branched(session, moment) for _ in range(message.count)]
    for twin in twins:
        remember(twin.require().only, past_of(moment))
    names = [twin.id for twin in twins]
    return session.done(line | {"sessions": names}, text, {"type": "forked", "sessions": names})


def _describe(host: Host, session: Session, message: protocol.Describe, payload: bytes) -> Answer:
    return session.describe()


def _delete(host: Host, session: Session, message: protocol.Delete, payload: bytes) -> Answer:
    host.delete(session.id)
    return {"type": "done", "session": session.id}


def _snapshots(host: Host, session: Session, message: protocol.Snapshots, payload: bytes) -> Answer:
    nodes = [node.to_dict() for node in session.tree]
    return {"type": "snapshots", "session": session.id, "snapshots": nodes, "present": session.tree.present}


def _forget(host: Host, session: Session, message: protocol.Forget, payload: bytes) -> Answer:
    host.store.forget(session, message.snapshot)
    return {"type": "done", "session": session.id}


def _view(host: Host, session: Session, message: protocol.View, payload: bytes) -> Answer:
    moment = session.require().only if message.snapshot is None else session.tree.moment(message.snapshot)
    image = moment.state.last_frame[0].cpu().numpy()
    return {"type": "view", "session": session.id, "snapshot": message.snapshot, "image": image}


def _save(host: Host, session: Session, message: protocol.Save, payload: bytes) -> Answer:
    moment: EnvSnapshot
    moment = session.require().only if message.snapshot is None else session.tree.moment(message.snapshot)
    return {"type": "file", "session": session.id, "moment": moment}


def _rewards(host: Host, session: Session, message: protocol.Rewards, payload: bytes) -> Answer:
    form = session.simulator.goal_form
    if form is None:
        raise ServerError("invalid", 'only a task in its goal form has rewards of goals: {..., "goal_env": true}.')
    achieved, desired = _goals(message, payload)
    size = form.goal_space().shape
    if achieved.shape != desired.shape or achieved.shape[-len(size) :] != size:
        raise ServerError(
            "invalid",
            f"achieved and desired goals are of one shape (..., {', '.join(map(str, size))}); got {achieved.shape} and "
            f"{desired.shape}.",
        )
    rewards = form.compute_reward(achieved, desired, {})
    return {"type": "rewards", "session": session.id, "rewards": rewards}


def _goals(message: protocol.Rewards, payload: bytes) -> list[Any]:
    """Achieved and desired goals as arrays: of nested lists, or of arrays described as in answers."""
    given = [message.achieved, message.desired]
    for value in given:
        if isinstance(value, dict) and "$array" not in value and value.keys() != {"$same"}:
            raise ServerError("malformed", "goals are (nested) lists of numbers, or arrays of the payload.")
    return wire.decode([_numbers(value) if isinstance(value, list) else value for value in given], payload)


def reset_options(host: Host, options: Mapping[str, Any], session: Session | None = None) -> dict[str, Any]:
    """Reset options as `Simulator.plan` takes them: ids become files and moments, and no text is taken for a path.

    Args:
        host: Whose pictures and sessions they name.
        options: As JSON has them.
        session: Whose reset it is; None where there is no `state` among them.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if "image" in given:
        given["image"] = host.find_image(given["image"])
    if "state" in given:
        value = given["state"]
        texts = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
        if not (texts and value.keys() <= {"snapshot", "session"} and "snapshot" in value):
            raise ServerError("invalid", 'option \'state\' is {"snapshot": id}, with "session" if another one has it.')
        source = value.get("session", None if session is None else session.id)
        assert source is not None, "a state is some session's"
        given["state"] = host.store.moment(source, value["snapshot"])
    if "goal" in given:
        given["goal"] = _numbers(given["goal"])
    if "prompt" in given and not isinstance(given["prompt"], str):
        raise ServerError("invalid", "option 'prompt' is a text.")
    if "intrinsics" in given:
        given["intrinsics"] = _numbers(given["intrinsics"])
    return given


def _numbers(value: Any) -> Any:
    """Nested lists of numbers as an array."""
    try:
        return np.array(value, dtype=np.float64)
    except (ValueError, TypeError):
        raise ServerError("invalid", "a goal or a camera is (nested) lists of numbers.") from None


OPERATIONS: dict[type[protocol.Message], Callable[[Host, Session, Any, bytes], Answer]] = {
    protocol.Reset: _reset,
    protocol.Snapshot: _snapshot,
    protocol.Restore: _restore,
    protocol.Fork: _fork,
    protocol.Configure: _configure,
    protocol.Open: _open,
    protocol.Describe: _describe,
    protocol.Delete: _delete,
    protocol.Snapshots: _snapshots,
    protocol.Forget: _forget,
    protocol.View: _view,
    protocol.Save: _save,
    protocol.Rewards: _rewards,
}
"""By the kind of request; steps are `steps.step_many`."""
