"""The graph engine against the eager one, on a GPU: `python -m pytest -m gpu`."""

import pytest
import torch

from resnet_repro import records
from resnet_repro.config import run_id
from resnet_repro.settings import compose
from resnet_repro.train import train, train_pack
from resnet_repro.training.engine import Eager, optimizer
from resnet_repro.training.graph import Graph
from resnet_repro.training.train_state import build

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

SETTINGS = {
    "fp32": [],
    "tf32": ["optim.precision=tf32"],
    "bf16": ["optim.precision=bf16"],
    "plain": ["model=plain"],
    "ghost": ["model.ghost_batch=64"],
    "group": ["model.norm=group"],
    "none": ["model.norm=none", "optim.lr=0.001"],
    "noisy": ["model.norm=batch_noisy"],
    "projection": ["model.shortcut=C"],
    "nesterov": ["optim.nesterov=true"],
    "clip": ["optim.clip=0.1"],
    "keep": ["optim.batch=400", "data.last_batch=keep"],
    "after": ["data.pad=after", "data.normalize=pixel_mean", "data.flip=true"],
    "contiguous": ["env.channels_last=false"],
}


@pytest.fixture(autouse=True)
def _as_in_training(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def advanced(kind, run, digits, *stops):
    net = build(run, digits).to("cuda").train()
    engine = kind(run, net, optimizer(run, net), digits)
    for start, stop in zip((0, *stops), stops, strict=False):
        engine.advance(start, stop, warm_until=5)
    torch.cuda.synchronize()
    return engine, net


@pytest.mark.parametrize("name", SETTINGS)
def test_replayed_steps_have_the_bits_of_eager_ones(name, tiny, digits):
    # An epoch has 11 steps (or 4, the last one smaller), a milestone is at 20, the warm-up ends at 5.
    run = tiny("optim.warmup=steps", "optim.warmup_steps=5", *SETTINGS[name])
    (eager, one), (graph, two) = (advanced(kind, run, digits, 30) for kind in (Eager, Graph))
    expected = one.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in two.state_dict().items())
    for ours, reference in zip(graph.tally.tensors(), eager.tally.tensors(), strict=True):
        assert torch.equal(ours, reference)


def test_a_way_cut_into_pieces_leaves_no_trace(tiny, digits):
    (_, whole), (_, pieces) = (advanced(Graph, tiny(), digits, *stops) for stops in ((30,), (7, 12, 30)))
    expected = whole.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in pieces.state_dict().items())


def test_a_divergence_is_noted_with_its_first_step(tiny, digits):
    run = tiny("optim.lr=1e6", "model.norm=none")
    first = [int(advanced(kind, run, digits, 12)[0].tally.first_bad) for kind in (Eager, Graph)]
    assert first[0] == first[1] < 12


def curves(run):
    return (records.folder(run, run_id(run)) / "points.csv").read_bytes()


PACK = [
    ["model=plain"],
    ["seed=1"],
    ["model.shortcut_scale=0.5", "model.depth=14"],
    ["optim.lr=1e6", "model.norm=none"],
]


def runs(folder, *overrides):
    common = ["task=digits", "model.depth=8", "model.width=4", "optim.steps=60", "optim.milestones=[25,45]"]
    probes = ["probes.curve_every=8", "probes.eval_every=16", "env.checkpoint_seconds=0", f"env.runs_dir={folder}"]
    return [compose([*common, *probes, *own, *overrides]) for own in PACK]


def test_a_pack_of_graphs_gives_each_run_the_bits_it_has_alone_and_those_of_the_eager_engine(tmp_path):
    packed, alone = runs(tmp_path / "pack", "env.engine=graph"), runs(tmp_path / "alone", "env.engine=graph")
    eager = runs(tmp_path / "eager", "env.engine=eager")
    train_pack([(run, []) for run in packed])
    for run in (*alone, *eager):
        train(run)
    assert [curves(run) for run in packed] == [curves(run) for run in alone] == [curves(run) for run in eager]


def test_a_graph_goes_on_from_a_checkpoint_of_either_engine(tmp_path, monkeypatch):
    (whole, *_), (cut, *_) = runs(tmp_path / "whole", "env.engine=graph"), runs(tmp_path / "cut", "env.engine=eager")
    train(whole)

    def stop(place, rows):
        if rows[0][0] == 32:
            raise KeyboardInterrupt
        append(place, rows)

    append = records.append_points
    monkeypatch.setattr(records, "append_points", stop)
    with pytest.raises(KeyboardInterrupt):
        train(cut)
    monkeypatch.undo()
    cut.env.engine = "graph"
    train(cut)
    assert curves(cut) == curves(whole)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # PyTorch's own, while it traces the block
def test_compiled_blocks_are_captured_too(tiny, digits):
    plain, compiled = (
        advanced(Graph, tiny("optim.lr=0.01", f"env.compile={flag}"), digits, 10)[0] for flag in ("false", "true")
    )
    assert float(compiled.tally.loss) == pytest.approx(float(plain.tally.loss), rel=1e-4)
