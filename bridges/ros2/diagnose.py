"""Entries of `/diagnostics`: how the simulation runs, what became of each robot's commands, and what it touched."""

from __future__ import annotations

from collections.abc import Mapping

from sanawm_env.bridges.ros2.messages import Status
from sanawm_env.bridges.ros2.runner import Runner
from sanawm_env.bridges.ros2.teleop import Teleop

__all__ = ["OK", "WARNING", "commands", "contact", "report", "simulation"]

OK, WARNING = 0, 1


def report(runner: Runner, teleops: Mapping[str, Teleop], clocks: int = 1) -> list[Status]:
    """All entries.

    Args:
        runner: The simulation.
        teleops: Commands of each robot.
        clocks: Publishers of `/clock` in the graph.
    """
    contacts = runner.session.contacts
    return [
        simulation(runner, clocks),
        *(commands(name, teleop) for name, teleop in teleops.items()),
        *(contact(name, felt) for name, felt in contacts.items() if felt),
    ]


def simulation(runner: Runner, clocks: int) -> Status:
    """The simulation's own entry: a warning where it falls behind, or where time comes from several sides."""
    text, level = "paused" if runner.paused else "running", OK
    factor = runner.real_time_factor
    if clocks > 1:
        text, level = f"/clock has {clocks} publishers: stop the others, or time jumps back and forth", WARNING
    elif runner.mode == "realtime" and 0 < factor < 0.95:
        text, level = f"slower than real time, {factor:.2f}; fewer worlds, or a smaller one, are faster", WARNING
    values = {
        "mode": runner.mode,
        "simulated_time": f"{runner.now / 1e9:.4f}",
        "real_time_factor": f"{factor:.3f}",
        "steps": runner.steps,
        "step_milliseconds": f"{1e3 * runner.step_seconds:.1f}",
        "late_frames": runner.late,
        "robots": len(runner.session.namespaces),
        "snapshots": ", ".join(runner.session.snapshots),
    }
    return Status("sanawm: simulation", level, text, values)


def commands(namespace: str, teleop: Teleop) -> Status:
    """The entry of a robot: a warning while its last command was one that had to be refused."""
    counts = ("received", "refused", "limited", "dropped", "stopped")
    values = {name: teleop.counts[name] for name in counts}
    return Status(
        f"sanawm: {namespace}/cmd_vel",
        WARNING if teleop.problem else OK,
        teleop.problem or "commands are good",
        values,
    )


def contact(namespace: str, felt: Mapping[str, float]) -> Status:
    """The entry of what a robot ran into, see `Session.contacts`."""
    values = {"collisions": int(felt["collisions"]), "clearance": f"{felt['clearance']:.3f}"}
    return Status(f"sanawm: {namespace}/contact", OK, f"{values['collisions']} collisions since its reset", values)
