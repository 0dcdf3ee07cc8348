"""Progress as Prometheus metrics, which Ray exports with its own on every machine of the cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sanawm_env.data.execution.progress import Progress

__all__ = ["publisher"]


def publisher(ray: Any, queue: str) -> Callable[[Progress], None]:
    """What publishes a run's progress.

    Metrics: `ray_sanawm_items` by `state` (done, failed, queued, running), `ray_sanawm_retries`, `ray_sanawm_lost`
    and `ray_sanawm_worker_items_per_hour` by `worker`; all with the `job` of Ray that they belong to, and the name of
    its `queue`.
    """
    from ray.util.metrics import Gauge

    job = {"job": ray.get_runtime_context().get_job_id(), "queue": queue}
    items = Gauge("sanawm_items", "Items of the work list.", ("job", "queue", "state"))
    retries = Gauge("sanawm_retries", "Items handed out again because their worker was lost.", ("job", "queue"))
    lost = Gauge("sanawm_lost", "Workers that were lost.", ("job", "queue"))
    rate = Gauge("sanawm_worker_items_per_hour", "Items done in an hour by a worker.", ("job", "queue", "worker"))

    def publish(now: Progress) -> None:
        for state in ("done", "failed", "queued", "running"):
            if (count := getattr(now, state)) is not None:
                items.set(count, job | {"state": state})
        retries.set(now.retries, job)
        lost.set(now.lost, job)
        for name, worker in now.workers.items():
            rate.set(worker.per_hour, job | {"worker": name})

    return publish
