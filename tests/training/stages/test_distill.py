"""Distillation: the losses vanish where they should, and move the student where they should."""

import copy

import pytest
import torch

from sanawm_env.training.clips.walks import WalkConfig, Walks
from sanawm_env.training.losses.streaming import begin
from sanawm_env.training.stages.distill import DistributionMatching, Net, ode_loss, substeps
from sanawm_env.training.stages.few_step import DistillConfig

SIGMAS = (1.0, 0.8, 0.0)


@pytest.fixture
def segment(walk_pool):
    return Walks(WalkConfig(segment=4, longest=8, full=1.0, time_shift=0.0, pause=0.0), walk_pool, 2, seed=3).next()


def generator():
    return torch.Generator().manual_seed(0)


def test_substeps_refine_every_interval():
    parts = substeps((1.0, 0.9, 0.0), 6)
    assert [p[0] for p in parts] == [1.0, 0.9] and [p[-1] for p in parts] == [0.9, 0.0]
    assert all(len(p) == 4 for p in parts)
    assert all(len(p) == 2 for p in substeps((1.0, 0.9, 0.0), 1)), "at least one step each"


def test_a_one_step_student_of_a_one_step_teacher_has_nothing_to_learn(network, segment):
    net = Net(network, True)
    with torch.no_grad():
        memory = begin(network, segment, None)
        loss, after = ode_loss(net, net, segment, (memory, memory), 2, (1.0, 0.0), 1, generator())
    assert loss < 1e-9
    assert torch.equal(after[0].frames, after[1].frames) and after[0].frames.tolist() == [5, 5]


def test_ode_loss_teaches_the_end_of_the_trajectory(network, segment):
    student = copy.deepcopy(network)
    with torch.no_grad():
        student.final_layer.linear.weight.mul_(0.5)
        teacher_memory = begin(network, segment, None)
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        memories = (begin(student, segment, None), teacher_memory)
        loss, _ = ode_loss(Net(student, True), Net(network, True), segment, memories, 2, SIGMAS, 4, generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is None for p in network.parameters()), "the teacher stays as it is"


def matching(student, teacher, critic, truth=0.0):
    nets = (Net(student, True), Net(teacher, True), Net(critic, True))
    return DistributionMatching(*nets, SIGMAS, generator(), shift=5.0, truth=truth)


def memories(segment, *models):
    with torch.no_grad():
        return tuple(begin(model, segment, None) for model in models)


def test_matching_distributions_leave_the_student_alone(network, segment):
    """Teacher and critic that agree give no gradient, whatever the student makes."""
    student = copy.deepcopy(network)
    match, _ = matching(student, network, network)(segment, memories(segment, student, network, network), 2, learn=True)
    match.student.backward()
    assert match.distance == 0
    assert all(p.grad is None or p.grad.abs().max() < 1e-12 for p in student.parameters())


def test_the_student_moves_from_the_critic_to_the_teacher(network, segment):
    """The gradient by the student's sample is the normalised difference critic minus teacher."""
    critic = copy.deepcopy(network)
    with torch.no_grad():
        critic.final_layer.linear.bias.add_(1.0)
    student = copy.deepcopy(network)
    match, _ = matching(student, network, critic)(segment, memories(segment, student, network, critic), 2, learn=True)
    assert match.distance > 0
    match.student.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
    assert all(p.grad is None for p in network.parameters())


def test_the_critic_learns_without_the_student(network, segment):
    critic, student = copy.deepcopy(network), copy.deepcopy(network)
    match, after = matching(student, network, critic)(
        segment, memories(segment, student, network, critic), 2, learn=False
    )
    assert match.student is None
    match.critic.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())
    assert all(p.grad is None for p in student.parameters())
    assert [m.frames.tolist() for m in after] == [[5, 5]] * 3


@pytest.mark.parametrize("change", [{"sigmas": (0.5, 0.9)}, {"critic_steps": 0}, {"teacher_steps": 0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError):
        DistillConfig(**change)
