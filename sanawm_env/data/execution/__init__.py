"""Work lists carried out by one process, or by many through Ray."""

from sanawm_env.data.execution.execute import execute
from sanawm_env.data.execution.jobs import MakeWorker, Result, Worker
from sanawm_env.data.execution.place import enter_folder, threads_of_workers
from sanawm_env.data.execution.progress import Progress, WorkerProgress

__all__ = [
    "MakeWorker",
    "Progress",
    "Result",
    "Worker",
    "WorkerProgress",
    "enter_folder",
    "execute",
    "threads_of_workers",
]
