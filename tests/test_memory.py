"""What a run's memory is estimated to be, against a network that was built, and what is refused for it."""

import pytest
import torch
from torch import nn

from resnet_repro import memory
from resnet_repro.config import ConfigError
from resnet_repro.nets import CifarNet, DenseNet
from resnet_repro.settings import compose


@pytest.mark.parametrize(
    ("depth", "width", "block"), [(8, 16, "basic"), (20, 16, "one_layer"), (56, 32, "three_layer")]
)
def test_the_weights_are_those_of_the_network_and_a_little_less(depth, width, block):
    run = compose([f"model.depth={depth}", f"model.width={width}", f"model.block={block}"])
    net = CifarNet(depth, width=width, block=block, generator=torch.Generator())
    counted = 3 * 4 * sum(p.numel() for p in net.parameters())
    assert 0.96 * counted < memory.weights(run) <= counted


def test_the_weights_of_a_densenet_are_those_of_the_network_and_a_little_less():
    run = compose(["model=densenet", "model.width=16"])
    counted = 3 * 4 * sum(p.numel() for p in DenseNet(40, generator=torch.Generator()).parameters())
    assert 0.96 * counted < memory.weights(run) <= counted


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(("depth", "block"), [(8, "basic"), (20, "three_layer"), (22, "dense")])
def test_the_activations_are_those_that_the_backward_pass_keeps_and_a_little_less(depth, block, norm):
    settings = [f"model.depth={depth}", f"model.norm={norm}", "optim.batch=32"]
    if block == "dense":
        run = compose(["task=digits", "model=densenet", "model.growth=6", *settings])
        net = DenseNet(depth, width=8, growth=6, in_channels=1, norm=norm, generator=torch.Generator())
    else:
        run = compose(["task=digits", f"model.block={block}", *settings])
        net = CifarNet(depth, width=8, in_channels=1, block=block, norm=norm, generator=torch.Generator())
    weights = {p.data_ptr() for p in net.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.is_floating_point() and tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nn.functional.cross_entropy(net(torch.zeros(32, 1, 8, 8)), torch.zeros(32, dtype=torch.long))
    counted = sum(size for size, _ in kept.values())
    assert 0.6 * counted < memory.activations(run) <= counted


@pytest.mark.parametrize("override", ["model.width=1000000", "model.depth=600000002", "optim.batch=100000000"])
def test_a_run_that_cannot_fit_is_refused_with_the_estimate(override):
    run = compose(["task=folder", "env.device=cpu", override])
    with pytest.raises(ConfigError, match=r"need at least [\d,.]+ GB of memory, and there are [\d,.]+ GB: lower one"):
        memory.check([compose([]), run])


def test_where_another_machine_trains_it_is_only_said(capsys):
    runs = [compose(["task=folder", "env.device=cpu", "model.width=1000000"])] * 2
    memory.check(runs, "slurm")
    assert capsys.readouterr().out.count("warning: model.width=1000000") == 1


def test_the_largest_networks_of_the_papers_fit():
    memory.check([compose(["task=cifar10", "model.depth=110"]), compose(["model.depth=110", "optim.batch=1500"])])


def test_the_outputs_of_a_run_on_a_gpu_need_no_memory_here():
    memory.check([compose(["task=folder", "env.device=cuda", "optim.batch=100000000"])])


def test_the_memory_is_that_of_the_machine_or_less(monkeypatch, tmp_path):
    whole = memory.available()
    assert whole > 2**28
    (tmp_path / "memory.max").write_text("1234567\n")
    (tmp_path / "unlimited").write_text("max\n")
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "memory.max", tmp_path / "unlimited", tmp_path / "absent"))
    memory.available.cache_clear()
    assert memory.available() == 1234567
    memory.available.cache_clear()
