"""Numbers for Prometheus, as text; they are few, so that no client library is needed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sanawm_env.server.sessions.host import Host

__all__ = ["metrics_text"]


def metrics_text(host: Host, sockets: int, refused: int) -> str:
    """All metrics.

    Args:
        host: The sessions.
        sockets: WebSockets that are open.
        refused: Requests refused so far.
    """
    memory = host.in_memory()
    lines: list[str] = []

    def add(name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> None:
        lines.append(f"# HELP sanawm_{name} {text}")
        lines.append(f"# TYPE sanawm_{name} {kind}")
        lines.extend(f"sanawm_{name}{labels} {value:.9g}" for labels, value in values)

    asleep = len(host.session_ids) - len(memory)
    add("sessions", "gauge", "Sessions.", [('{place="memory"}', len(memory)), ('{place="disk"}', asleep)])
    add("state_bytes", "gauge", "Bytes of the sessions' present.", [("", sum(each.nbytes for each in memory))])
    add("snapshot_bytes", "gauge", "Bytes of all snapshots.", [("", host.budget.held)])
    add("snapshot_bytes_limit", "gauge", "What they may hold.", [("", host.budget.limit)])
    add("steps_total", "counter", "Steps of sessions.", [("", host.steps)])
    add("websockets", "gauge", "Open WebSockets.", [("", sockets)])
    add("refused_total", "counter", "Requests that were refused.", [("", refused)])
    model = _quantiles("", list(host.step_seconds))
    add("model_step_seconds", "gauge", "Time of the model per round of joined steps, of the last 2048.", model)
    waits = [each for session in memory for each in _quantiles(f'session="{session.id}",', list(session.latencies))]
    add("step_latency_seconds", "gauge", "From a step's request to its answer, of a session's last 512.", waits)
    return "\n".join(lines) + "\n"


def _quantiles(labels: str, values: list[float]) -> list[tuple[str, float]]:
    if not values:
        return []
    return [(f'{{{labels}quantile="{q}"}}', float(np.quantile(values, q))) for q in (0.5, 0.95)]
