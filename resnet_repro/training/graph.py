"""The graph engine: the whole step recorded once as a CUDA graph, and replayed on a stream of the run's own.

A replay costs the host one launch instead of several hundred, and runs of a pack, each with its own graph and stream,
fill the device together. A run shares nothing with the others, so one that diverges or ends touches none of them.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from resnet_repro.config import Run
from resnet_repro.data import DataSet, Resident
from resnet_repro.training.engine import Eager, take_turn

WARM_UP = 3
"""Steps taken, and taken back, before the recording: libraries make their handles and workspaces in them."""


class Graph(Eager):
    """As `Eager`, on CUDA only; with the same kernels it computes the same bits."""

    feed: Resident

    def __init__(
        self,
        run: Run,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        images: DataSet,
        backward: Callable[[Tensor], None] = Tensor.backward,
    ) -> None:
        super().__init__(run, net, optimizer, images, backward)
        self.stream = torch.cuda.Stream(self.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def turns(self, start: int, stop: int, warm_until: int) -> Iterator[None]:
        """As those of `Eager`, on this run's own stream, in order with what the caller does before and after."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        turns = super().turns(start, stop, warm_until)
        going = True
        while going:
            with torch.cuda.stream(self.stream):
                going = take_turn(turns)
            if going:
                yield
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def _take(self, steps: int) -> None:
        graph = self.graph or self._record()
        for _ in range(steps):
            graph.replay()

    def _record(self) -> torch.cuda.CUDAGraph:
        """Records one step; the run's state is afterwards what it was before."""
        for p in self.net.parameters():  # SGD makes them in its first step, which then would differ from the next
            self.optimizer.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        state = self._state()
        kept = [tensor.clone() for tensor in state]
        for _ in range(WARM_UP):
            self.feed.row.zero_()
            self._step(*self.feed.next())
        self.optimizer.zero_grad(set_to_none=True)  # gradients get their place in the graph's own memory
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._step(*self.feed.next())
        with torch.no_grad():
            for tensor, before in zip(state, kept, strict=True):
                tensor.copy_(before)
        self.graph = graph
        return graph

    def _state(self) -> list[Tensor]:
        momentum = [self.optimizer.state[p]["momentum_buffer"] for p in self.net.parameters()]
        return [*self.net.parameters(), *self.net.buffers(), *momentum, *self.tally.tensors(), self.feed.row]
