import math

import pytest
import torch

from resnet_repro.config import ConfigError
from resnet_repro.training.fit import fit, set_up
from resnet_repro.training.train_state import TrainState, build


def test_the_network_is_the_one_that_the_config_asks_for(tiny, digits):
    settings = ["model.depth=14", "model.width=8", "model.shortcut=B", "model.shortcut_scale=0.5", "model.norm=group"]
    net = build(tiny(*settings), digits)
    # 3x3 convolutions 1 -> 8, 2 blocks at each of 8, 16, 32 channels, two projections, a linear layer; group norms.
    weights = 9 * (8 + 4 * 64 + 8 * 16 + 3 * 256 + 16 * 32 + 3 * 1024) + 8 * 16 + 16 * 32 + 32 * 10 + 10
    norms = 2 * (8 + 4 * 8 + 5 * 16 + 5 * 32)
    assert sum(p.numel() for p in net.parameters()) == weights + norms
    assert {block.shortcut_scale for block in net.blocks} == {0.5}


def test_initial_weights_depend_on_the_seed_alone(tiny, digits):
    torch.manual_seed(1)
    one = build(tiny("seed=3"), digits)
    torch.manual_seed(2)
    same, other = build(tiny("seed=3"), digits), build(tiny("seed=4"), digits)
    assert torch.equal(one.conv.weight, same.conv.weight)
    assert not torch.equal(one.conv.weight, other.conv.weight)


def test_he_initial_weights_have_the_variance_of_the_paper(tiny, digits):
    net = build(tiny("model.width=32"), digits)
    weight = net.blocks[2].conv2.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)


def test_zero_steps_leave_the_network_at_its_initialisation(tiny, digits, tmp_path):
    run = tiny("optim.steps=0")
    finished = []
    fit([TrainState(run, digits, tmp_path)], finished.append)
    (state,) = finished
    assert state.step == 0
    initial = build(run, digits).state_dict()
    assert all(torch.equal(value, initial[name]) for name, value in state.net.state_dict().items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(tiny, digits, tmp_path):
    with pytest.raises(ConfigError, match=r"env\.device=cuda.*use env\.device=cpu"):
        fit([TrainState(tiny("env.device=cuda"), digits, tmp_path)], print)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_graph_engine_is_refused_without_a_cuda_device(tiny, digits, tmp_path):
    with pytest.raises(ConfigError, match=r"env\.engine=graph needs a CUDA device.*use env\.engine=eager"):
        fit([TrainState(tiny("env.engine=graph"), digits, tmp_path)], print)


def test_the_number_of_threads_is_what_was_asked_for(tiny, digits, tmp_path):
    for threads in (2, 1):
        fit([TrainState(tiny(f"env.threads={threads}", "optim.steps=0"), digits, tmp_path)], lambda _: None)
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("factor", "said"), [(9.5, True), (0.5, False)])
def test_bf16_on_a_cpu_that_emulates_it_is_said_before_training_with_the_factor(
    factor, said, tiny, monkeypatch, caplog
):
    monkeypatch.setattr("resnet_repro.training.fit.bf16_per_fp32", lambda device: factor)
    set_up(tiny("optim.precision=bf16", "env.device=cpu"))
    assert ("9.5 times as long as fp32" in caplog.text) is said
    assert ("optim.precision=fp32" in caplog.text) is said
