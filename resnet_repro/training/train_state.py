"""A run in training: its network, optimiser and engine, what its curves show so far, and its checkpoint."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_repro import probes, records
from resnet_repro.config import Run, engine_of, run_id
from resnet_repro.data import DataSet
from resnet_repro.inputs import OtherData
from resnet_repro.probes.errors import error
from resnet_repro.training import parallel
from resnet_repro.training.engine import Eager, optimizer
from resnet_repro.training.graph import Graph
from resnet_repro.training.looks import Looks, due
from resnet_repro.training.network import build
from resnet_repro.training.schedule import learning_rate, next_look, shortened, warmup_end
from resnet_repro.training.step import NEVER

ENGINES = {"eager": Eager, "graph": Graph}


class TrainState:
    """One run of a pack. It advances by intervals of `probes.curve_every` steps, each with a point of the curves.

    `begin` first; then, until it is `done`, `interval` and `close_interval` in turn.
    """

    engine: Eager

    def __init__(self, run: Run, images: DataSet, place: Path, about: Mapping[str, Any] | None = None) -> None:
        """about: what run.json says of the run; one that goes on keeps what it began with."""
        self.run, self.images, self.place, self.about = run, images, place, about
        self.measured = dict.fromkeys(run.measure.probes, run.measure.every)  # steps between the looks of each probe
        self.net = build(run, images)
        self.sgd = optimizer(run, self.net)
        self.step = 0
        self.warm_until = warmup_end(run.optim)
        self.points: list[records.Point] = []
        self.seconds = 0.0
        self.running: dict[str, float] = {}
        self.latest: dict[str, float] = {}
        self.looked = (0, 0)
        self.diverged_step: int | None = None

    @property
    def done(self) -> bool:
        """Whether it has taken all its steps, or diverged."""
        return self.step >= self.run.optim.steps or self.diverged_step is not None

    def begin(self, device: torch.device, backward: Callable[[Tensor], None] = Tensor.backward) -> None:
        """Goes on from the checkpoint in `place`, if there is one, with network and data on `device`."""
        self.net.to(device).train()
        state = self._checkpoint(device)
        if state is not None:
            self._restore(state)
        engine = ENGINES[engine_of(self.run, device.type == "cuda")]
        self.engine = engine(self.run, self.net, self.sgd, self.images, backward)
        self.test_batches = self.engine.feed.clean("test")
        parallel.check_same_step(self.step, device)
        self.started = time.perf_counter() - self.seconds
        if parallel.rank() == 0:
            if state is None and self.about is not None:
                records.write_json(self.place / "run.json", {**self.about, "data_sha256": self.images.sha256})
            self.looks = Looks(self.run, self.images, self.engine.feed, device) if self.measured else None
            self.points += self._look() if state is None else []
            records.write_points(self.place, self.points)

    def interval(self) -> Iterator[None]:
        """Takes the steps up to the next curve point, or to the end, in turns (see `Eager.turns`).

        A warm-up by error has looks at the running error on the way; without one no step waits for the device.
        """
        stop = min(self.step + self.run.probes.curve_every, self.run.optim.steps)
        while self.step < stop:
            look = min(next_look(self.step, self.run.optim, self.warm_until), stop)
            yield from self.engine.turns(self.step, look, self.warm_until)
            self.step = look
            if look < stop:
                self._end_warm_up(*parallel.counted(self.engine.tally))

    def _end_warm_up(self, wrong: int, seen: int) -> None:
        """Ends a warm-up by error, if the error over the steps since the last look, or curve point, is low enough.

        wrong, seen: answers counted since the last curve point.
        """
        recent = 100.0 * (wrong - self.looked[0]) / (seen - self.looked[1])
        self.looked = (wrong, seen)
        self.warm_until = shortened(self.warm_until, self.step, self.run.optim, recent)

    def close_interval(self) -> None:
        """Writes the point of the curves; ends a warm-up by error; notes a divergence."""
        parallel.combine(self.engine.tally, self.net)
        first_bad = int(self.engine.tally.first_bad)
        if first_bad != NEVER:
            self.diverged_step = first_bad
        points = self._curve_point()
        if parallel.rank() == 0:
            points += self._look()
            records.append_points(self.place, points)
        self.points += points
        self._end_warm_up(int(self.engine.tally.wrong), int(self.engine.tally.seen))
        self.engine.tally.reset()
        self.looked = (0, 0)
        self.seconds = time.perf_counter() - self.started

    def _curve_point(self) -> list[records.Point]:
        tally, due = self.engine.tally, self.run.probes.eval_every
        seen = int(tally.seen)
        self.running = {
            "train_error_running": 100.0 * int(tally.wrong) / seen,
            "train_loss": float(tally.loss) / seen,
        }
        point = {"lr": learning_rate(self.step - 1, self.run.optim, self.warm_until), **self.running}
        due_now = self.step >= self.run.optim.steps or (due and self.step % due == 0)
        if due_now and parallel.rank() == 0:
            point["test_error"] = error(self.net, self.test_batches, self.run.optim.precision == "bf16")
        self.latest = point
        return [(self.step, metric, None, None, value) for metric, value in point.items()]

    def _look(self) -> list[records.Point]:
        """What the probes measure now."""
        return self.looks.take(due(self.measured, self.step, self.done), self.net, self.step) if self.looks else []

    def save(self) -> None:
        """Makes what it is now the run's only checkpoint."""
        part = self.place / ".checkpoint.part"
        torch.save(self._state(), part)
        records.keep_checkpoint(self.place, self.step, part)

    def _state(self) -> dict[str, Any]:
        names = ("step", "warm_until", "points", "seconds", "running", "measured")
        state = {name: getattr(self, name) for name in names}
        state |= {"net": self.net.state_dict(), "sgd": self.sgd.state_dict()["state"]}
        return state | {"run_id": run_id(self.run), "data_sha256": self.images.sha256}

    def _checkpoint(self, device: torch.device) -> dict[str, Any] | None:
        """The newest checkpoint; one of another run, or begun without a probe now asked for, is set aside.

        Those of version 0.1 say neither whose they are, nor on what data, nor what was measured.
        """
        path = records.checkpoint(self.place)
        if path is None:
            return None
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        name, had = state.pop("run_id", run_id(self.run)), state.setdefault("measured", {})
        missing = probes.lacking(had, self.measured, self.run.measure.every)
        if name == run_id(self.run) and not missing:
            return state
        records.set_aside(path, f"was begun without {', '.join(missing)}" if missing else f"is that of run {name}")
        return None

    def _restore(self, state: dict[str, Any]) -> None:
        seen = state.pop("data_sha256", self.images.sha256)
        if seen != self.images.sha256:
            raise OtherData(self.run, self.place, seen, self.images.sha256)
        if "rows" in state:  # so version 0.1 called its points, which had no x and no y
            state["points"] = [(step, metric, None, None, value) for step, metric, value in state.pop("rows")]
        self.net.load_state_dict(state.pop("net"))
        self.sgd.load_state_dict(self.sgd.state_dict() | {"state": state.pop("sgd")})
        for name, value in state.items():
            setattr(self, name, value)
