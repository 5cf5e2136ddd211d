"""The nonlinearities between the layers."""

from torch import nn

from resnet_repro.nets.checks import check_choice

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def make_activation(activation: str) -> nn.Module:
    """Return the nonlinearity of that name, which works on maps of any shape. Raises ValueError for another name."""
    check_choice("activation", activation, tuple(ACTIVATIONS))
    return ACTIVATIONS[activation]()
