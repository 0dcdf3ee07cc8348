"""Work lists in this process: every item gets one result, whatever the worker does."""

import errno
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from sanawm_env.data.execution import Result, execute
from sanawm_env.data.execution.jobs import carry_out

SPEC = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
counting = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(counting)


class Scripted:
    """Takes `slots` items at a time, gives their results last one first, and does to some what `say` tells."""

    def __init__(self, slots=1, say=None):
        self.slots, self.say, self.taken = slots, say or {}, []

    def run(self, items):
        items = iter(items)
        while True:
            hand = [item for _, item in zip(range(self.slots), items, strict=False)]
            self.taken.append(hand)
            if not hand:
                return
            for item in reversed(hand):
                said = self.say.get(item)
                if isinstance(said, BaseException):
                    raise said
                if said == "stop":
                    return
                if said != "nothing":
                    yield Result(said if isinstance(said, int) else item, value=item)


def test_items_are_taken_as_slots_fall_free():
    worker = Scripted(slots=2)
    results = list(carry_out(worker, range(5)))
    assert [result.item for result in results] == [1, 0, 3, 2, 4]
    assert worker.taken == [[0, 1], [2, 3], [4], []]


def test_an_exception_fails_what_was_in_hand_and_nothing_else():
    results = {result.item: result for result in carry_out(Scripted(2, {3: KeyError("a\nb")}), range(6))}
    assert sorted(results) == list(range(6))
    assert {item for item, result in results.items() if result.failed} == {2, 3}
    assert results[2].failure == "KeyError: 'a\\nb'"


@pytest.mark.parametrize("what", ["stop", "nothing"])
def test_items_without_a_result_have_failed(what):
    results = {result.item: result for result in carry_out(Scripted(1, {1: what}), range(4))}
    assert {item for item, result in results.items() if result.failed} == {1}
    assert "without a result" in results[1].failure


def test_a_full_disk_ends_everything():
    with pytest.raises(OSError, match="full"):
        list(carry_out(Scripted(1, {1: OSError(errno.ENOSPC, "full")}), range(4)))


def test_a_result_of_somebody_elses_item_is_an_error():
    with pytest.raises(RuntimeError, match="item 17"):
        list(carry_out(Scripted(1, {1: 17}), range(4)))


def test_progress_and_its_file(tmp_path):
    log = tmp_path / "progress.jsonl"
    log.write_text('{"event": "to')  # a killed run's half line
    told = []
    worker = Scripted(2, {5: ValueError("no")})
    results = list(execute(range(6), lambda: worker, log=log, tell=lambda now, result: told.append((now, result))))
    assert [result for _, result in told] == results
    assert all(result.worker == "local" for result in results)
    last = told[-1][0]
    assert (last.total, last.done, last.failed, last.queued, last.running) == (6, 4, 2, 0, 0)
    assert last.workers["local"].done == 4 and last.workers["local"].failed == 2
    assert last.per_hour > 0 and last.seconds_left == 0
    assert all(now.done + now.failed + now.queued + now.running == 6 for now, _ in told)
    lines = log.read_text().splitlines()
    events = [json.loads(line) for line in lines[1:]]
    assert [event["event"] for event in events] == ["ready", *["item"] * 6, "end"]
    assert events[0]["threads"] >= 1
    assert [event["failure"] for event in events if event.get("failure")] == ["ValueError: no"] * 2


def test_an_iterator_decides_as_it_goes_when_it_is_enough():
    results = []

    def until_three_are_done():
        number = 0
        while len(results) < 3:
            yield number
            number += 1

    told = []
    for result in execute(until_three_are_done(), Scripted, tell=lambda now, result: told.append(now)):
        results.append(result.item)
    assert results == [0, 1, 2]
    assert told[-1].total is told[-1].queued is told[-1].seconds_left is None


def test_nothing_to_do_makes_no_worker():
    def refuse():
        raise AssertionError

    assert list(execute([], refuse)) == []


def test_a_second_run_does_what_is_missing(tmp_path):
    first = counting.drive(tmp_path, 10, worker={"slots": 3, "fail": [2, 5]})
    assert (first["done"], first["failed"]) == (8, 2)
    second = counting.drive(tmp_path, 10)
    assert second["todo"] == [2, 5] and second["done"] == 2
    assert len(list((tmp_path / "ends").iterdir())) == len(list((tmp_path / "done").iterdir())) == 10


def test_bad_arguments():
    with pytest.raises(ValueError, match="twice"):
        execute([1, 1], Scripted)
    with pytest.raises(ValueError, match="--workers must be at least 1"):
        execute([1], Scripted, workers=0)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'sanawm_env\[ray\]'"):
        execute([1], Scripted, ray="auto")
