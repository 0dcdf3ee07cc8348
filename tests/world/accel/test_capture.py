"""Recorded programs: replayed on fixed memory, cloned out, bounded, and dropped when weights move."""

import copy
import gc
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from sanawm_env.world.accel.capture import CudaRecorder, Programs, TraceRecorder, addresses


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)
        self.requires_grad_(False)


class Eager:
    """Runs the function anew on the fixed inputs, like a graph into the same output memory, and counts."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, function, inputs):
        self.recorded += 1
        outputs = {name: value.clone() for name, value in function(inputs).items()}

        def replay():
            self.replayed += 1
            for name, value in function(inputs).items():
                outputs[name].copy_(value)
            return outputs

        return replay


def forward(net, values):
    return {"y": net.layer(values["x"]) + values["z"], "z": values["z"]}


def values(seed, rows=2):
    torch.manual_seed(seed)
    return {"x": torch.randn(rows, 3), "z": torch.randn(rows, 3)}


@pytest.fixture(params=[Eager, TraceRecorder])
def programs(request):
    return Programs(request.param(), limit=2)


def test_replays_equal_the_function_and_share_no_memory(programs):
    net = Net()
    program = programs.record("a", partial(forward, net), values(0), net)
    results = []
    for seed in (1, 2, 3):
        given = values(seed)
        kept = {name: value.clone() for name, value in given.items()}
        found = program(given)
        with torch.no_grad():
            expected = forward(net, kept)
        assert found.keys() == expected.keys() and all(torch.equal(found[n], expected[n]) for n in found)
        assert all(torch.equal(given[n], kept[n]) for n in given)
        results.append((found, expected))
    # Later replays did not reach what earlier ones gave out, nor does writing into it reach them.
    for found, expected in results:
        assert all(torch.equal(found[n], expected[n]) for n in found)
        with torch.inference_mode():
            found["z"].zero_()
    assert torch.equal(program(values(3))["z"], values(3)["z"])


def test_weights_changed_in_place_count_and_moved_ones_end_all_programs(programs):
    net = Net()
    for key in ("a", "b"):
        programs.record(key, partial(forward, net), values(0), net)
    net.layer.weight.mul_(2)
    with torch.no_grad():
        assert torch.equal(programs.find("a", net)(values(1))["y"], forward(net, values(1))["y"])
    net.layer.weight.data = net.layer.weight.data.clone()
    assert programs.find("a", net) is None and len(programs) == 0


def test_the_least_recently_used_goes_first(programs):
    net = Net()
    for key in ("a", "b"):
        programs.record(key, partial(forward, net), values(0), net)
    assert programs.find("a", net) is not None and programs.find("c", net) is None
    programs.record("c", partial(forward, net), values(0), net)
    assert "a" in programs and "b" not in programs and "c" in programs and len(programs) == 2
    programs.record("a", partial(forward, net), values(0), net)
    assert len(programs) == 2 and "c" in programs


def test_programs_share_inputs_and_say_their_bytes(programs):
    net = Net()
    first = programs.record("a", partial(forward, net), values(0), net)
    assert programs.nbytes == 2 * 24
    second = programs.record("b", partial(forward, net), values(1), net)
    assert all(second.inputs[name] is first.inputs[name] for name in first.inputs)
    assert programs.nbytes == 2 * 24
    with torch.no_grad():
        for program, seed in ((first, 2), (second, 3), (first, 4)):
            assert torch.equal(program(values(seed))["y"], forward(net, values(seed))["y"])
    third = programs.record("c", partial(forward, net), values(0, rows=5), net)
    assert third.inputs["x"].shape == (5, 3) and programs.nbytes >= 2 * 24 + 2 * 60
    memory = len(programs._inputs)
    del first, second, program
    programs.clear()
    gc.collect()
    assert len(programs._inputs) == memory - 2 and programs.nbytes == 0
    del third
    gc.collect()
    assert not len(programs._inputs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v | {"x": v["x"][:1]}, r"x is \(1, 3\) torch.float32 on cpu, not \(2, 3\)"),
        (lambda v: v | {"x": v["x"].double()}, "float64"),
        (lambda v: {"x": v["x"]}, "z is absent"),
        (lambda v: v | {"more": v["x"]}, "more is .* not absent"),
    ],
)
def test_other_inputs_are_refused(change, words):
    net = Net()
    program = Programs(Eager()).record("a", partial(forward, net), values(0), net)
    with pytest.raises(ValueError, match=words):
        program(change(values(0)))


def test_copies_and_pickles_have_no_programs():
    programs = Programs(Eager())
    assert copy.deepcopy({"p": programs}) == {"p": None} and pickle.loads(pickle.dumps(programs)) is None


def test_a_limit_of_nothing():
    with pytest.raises(ValueError, match="at least one"):
        Programs(Eager(), limit=0)


def test_addresses_change_with_the_memory_only():
    net = Net()
    before = addresses(net)
    net.layer.bias.add_(1)
    assert addresses(net) == before and len(before) == 2
    net.layer.bias = nn.Parameter(net.layer.bias.clone())
    assert addresses(net) != before


def test_graphs_need_cuda():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="leave capture out"):
        CudaRecorder()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_replays():
    net = Net().cuda()
    given = {name: value.cuda() for name, value in values(0).items()}
    program = Programs(CudaRecorder()).record("a", partial(forward, net), given, net)
    for seed in (1, 2):
        given = {name: value.cuda() for name, value in values(seed).items()}
        found = program(given)
        torch.testing.assert_close(found["y"], forward(net, given)["y"])
        assert torch.equal(found["z"], given["z"])
