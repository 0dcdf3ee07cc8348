"""How OpenMP's threads wait, and how many a worker process takes."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sanawm_env.world.accel import threads

WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and not hasattr(self, "seen"):
            self.seen = os.environ.get("GOMP_SPINCOUNT")
watch = Watch()
sys.meta_path.insert(0, watch)
"""
"""Notes what the variable was when torch was first looked for, that is, before its OpenMP read it."""


def clean(**more: str) -> dict[str, str]:
    taken = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: value for name, value in os.environ.items() if name not in taken} | more


def python(code: str | Path, timeout: float = 240, /, **more: str) -> str:
    """What a fresh interpreter prints; a test hangs for `timeout` seconds at most."""
    command = [sys.executable, *([str(code)] if isinstance(code, Path) else ["-c", code])]
    done = subprocess.run(command, env=clean(**more), capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "load",
    [
        "import sanawm_env; sanawm_env.SanaWMEnv",
        "import sanawm_env.cli; sanawm_env.cli.main(['info', '-c', 'tiny'])",
        "import gymnasium; gymnasium.make('sanawm_env:SanaWM-v0', checkpoint='tiny')",
        "import sanawm_env.policies.sb3.train",
    ],
)
def test_set_before_torch(load: str) -> None:
    assert python(f"{WATCH}\n{load}\nprint(watch.seen)").splitlines()[-1] == threads.SPIN_COUNT


@pytest.mark.parametrize(
    ("given", "spin_count"), [({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "None")]
)
def test_users_decide(given: dict[str, str], spin_count: str) -> None:
    assert python("import os, sanawm_env; print(os.environ.get('GOMP_SPINCOUNT'))", **given) == spin_count


@pytest.mark.parametrize("first", ["sanawm_env", "torch"])
def test_torch_first_is_known(first: str) -> None:
    code = f"import {first}, sanawm_env, os; from sanawm_env.world.accel.threads import spinning;"
    assert python(code + "print(spinning(), os.environ['GOMP_SPINCOUNT'])") == f"{first == 'torch'} 10000"


def test_told_only_where_it_hurts(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    import torch

    load = [100.0]
    monkeypatch.setattr(os, "getloadavg", lambda: (load[0], 0.0, 0.0))
    monkeypatch.setattr(sys, "platform", "linux")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(threads, "_torch_was_first", False)
        threads.take_share()
        monkeypatch.setattr(threads, "_torch_was_first", True)
        load[0] = 0.0
        threads.take_share()
        assert not recwarn.list
        load[0] = 100.0
        with pytest.warns(RuntimeWarning, match=r"(?s)before torch.*GOMP_SPINCOUNT=10000"):
            threads.take_share()
        torch.set_num_threads(1)
        with pytest.MonkeyPatch.context() as only:
            only.setattr(threads.warnings, "warn", lambda *a, **k: pytest.fail("one thread does not spin"))
            threads.take_share()
    finally:
        torch.set_num_threads(before)


FORKED = """
import os, sys
import torch
torch.set_num_threads(2)
import gymnasium as gym, sanawm_env
def steps(_):
    torch.randn(512, 512) @ torch.randn(512, 512)
    return torch.get_num_threads()
if __name__ == "__main__":
    steps(0)
    {body}
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    "body",
    [
        "pid = os.fork(); pid or os._exit(steps(0) - 1); print(1 + os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
        "import multiprocessing as mp; print(mp.get_context('fork').Pool(1).map(steps, [0])[0])",
        "from torch.utils.data import DataLoader as Loader; "
        "print(next(iter(Loader([0], 1, num_workers=1, collate_fn=steps, multiprocessing_context='fork'))))",
    ],
    ids=["os.fork", "Pool", "DataLoader"],
)
def test_forked_children_answer(body: str) -> None:
    """The parent's OpenMP threads do not survive the fork; before, the child waited for them for ever."""
    assert python(FORKED.format(body=body), 120).splitlines()[-1] == "1"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_vector_environment_steps() -> None:
    body = (
        "v = gym.make_vec('SanaWM-v0', num_envs=2, vectorization_mode='async', checkpoint='tiny', chunk_frames=1, "
        "vector_kwargs={'context': 'fork'}); v.reset(seed=1); v.step(v.action_space.sample()); v.close(); print('ok')"
    )
    assert python(FORKED.format(body=body)).splitlines()[-1] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "first", "given", "count"),
    [
        ("fork", "os", {}, "1"),
        ("forkserver", "os", {}, "1"),
        ("spawn", "torch", {}, "1"),
        ("spawn", "torch", {"OMP_NUM_THREADS": "2"}, "2"),
    ],
)
def test_a_worker_takes_one_thread(method: str, first: str, given: dict[str, str], count: str, tmp_path: Path) -> None:
    """Whoever started it, and whether torch is there before our package or not."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    script = tmp_path / "workers.py"
    script.write_text(
        f"import {first}, multiprocessing\n"
        "def count(_):\n"
        "    import sanawm_env.world.model, torch\n"
        "    return torch.get_num_threads()\n"
        "if __name__ == '__main__':\n"
        f"    print(multiprocessing.get_context('{method}').Pool(1).map(count, [0])[0])\n",
        encoding="utf-8",
    )
    assert python(script, **given) == count


def test_called_later_the_user_wins() -> None:
    """As a worker, which a process is once multiprocessing names its parent."""
    code = (
        "import multiprocessing as mp; mp.parent_process = lambda: 1;"
        "import sanawm_env.world.model, torch; a = torch.get_num_threads(); torch.set_num_threads(2);"
        "sanawm_env.WorldModel.untrained(); print(a, torch.get_num_threads())"
    )
    assert python(code) == "1 2"


def test_the_main_process_keeps_its_threads() -> None:
    code = (
        "import torch; a = torch.get_num_threads(); import sanawm_env.world.model; print(a == torch.get_num_threads())"
    )
    assert python(code) == "True"


linux = pytest.mark.skipif(sys.platform != "linux", reason="counts the threads that Linux lists")
TEAMS = """
import os, threading, time, torch
from sanawm_env.world.accel.threads import aside
before = 0
def teams():  # threads that Python did not start; those that have been told to end get time to do so
    for _ in range(30):
        found = len(os.listdir("/proc/self/task")) - threading.active_count()
        if before and found <= before:
            break
        time.sleep(0.1)
    return found
before = teams()
"""


@linux
def test_aside_leaves_no_team_of_threads_behind():
    work = "torch.ones(1000, 1000).exp().sum().item()"
    assert python(TEAMS + f"assert aside(lambda: {work}) > 0; print(teams() - before)", OMP_NUM_THREADS="2") == "0"
    assert python(TEAMS + f"{work}; print(teams() - before)", OMP_NUM_THREADS="2") == "1"
    with pytest.raises(KeyError, match="from inside"):
        threads.aside(lambda: {}["from inside"])


@linux
def test_a_server_leaves_the_cores_to_the_thread_that_steps(tmp_path):
    """More threads in all teams than there are cores, and none of them spins: a step took 1.5 times as long."""
    code = f"""
import asyncio
from pathlib import Path
from sanawm_env.server.cluster.world import WorldChoice
from sanawm_env.server.web.app import make_app
from sanawm_env.server.web.auth import Guard
from sanawm_env.server.web.gallery import gallery_picture
folder = Path({str(tmp_path)!r})
app = make_app(WorldChoice("tiny", "cpu").load(), folder, Guard("token", None), warmup=False)
gallery_picture(0, 224, 128)
print(teams() - before)
app.state.dispatcher.host.close()
"""
    assert python("import cv2, scipy.linalg" + TEAMS + code, OMP_NUM_THREADS="2") == "0"
