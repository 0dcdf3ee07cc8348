"""Pieces of an evaluation are refused where their numbers would not be comparable."""

import pytest

from sanawm_env.cli.evaluation.sharing import _MakeWorker, differences


class Pieces:
    def __init__(self):
        self.depends_on = {"checkpoint": "abc", "threads": 2, "device": "cpu"}

    def do(self, number):
        return number**2


def test_a_process_that_would_give_other_numbers_is_refused(tmp_path):
    theirs = Pieces().depends_on
    worker = _MakeWorker(Pieces, dict(theirs), str(tmp_path / "elsewhere"))()
    assert [(result.item, result.value) for result in worker.run([2, 3])] == [(2, 4), (3, 9)]
    with pytest.raises(ValueError, match=r"threads 2, not 1\); start the command on a machine like"):
        _MakeWorker(Pieces, theirs | {"threads": 1}, str(tmp_path / "elsewhere"))()


def test_differences_in_words():
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 2}) == []
    assert differences({"a": 1, "c": 3}, {"a": 2, "b": 4}) == ["a 2, not 1", "c None, not 3", "b 4, not None"]
