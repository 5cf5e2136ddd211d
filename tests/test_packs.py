"""How runs are put together into packs."""

import pytest

from resnet_repro.config import ConfigError, cost, engine_of
from resnet_repro.experiment import load
from resnet_repro.jobs.packs import SIZE, packs
from resnet_repro.planning import in_order, plan
from resnet_repro.settings import compose


def grid(*overrides, seeds="seed=0,1,2,3,4"):
    overrides = [*overrides, seeds]
    return [planned.run for planned in in_order(plan(load("degradation"), overrides))]


def test_every_run_is_in_one_pack():
    runs = grid("env.engine=graph")
    formed = packs(runs, None, slots=1)
    assert sorted(number for pack in formed for number in pack) == list(range(len(runs)))


def test_a_pack_has_one_depth_and_both_arms_and_the_first_seeds_of_every_depth_come_first():
    runs = grid("env.engine=graph")
    formed = [[runs[number] for number in pack] for pack in packs(runs, None, slots=1)]
    assert all({run.model.residual for run in pack} == {True, False} for pack in formed)
    depths = [{run.model.depth for run in pack} for pack in formed]
    assert depths == [{depth} for _ in range(2) for depth in (110, 56, 44, 32, 20)]
    assert [{run.seed for run in pack} for pack in formed] == [{0, 1, 2}] * 5 + [{2, 3, 4}] * 5


def test_ten_runs_make_two_packs_of_five_and_not_six_and_four():
    runs = [run for run in grid("env.engine=graph") if run.model.depth == 56]
    assert SIZE == 6
    assert [len(pack) for pack in packs(runs, None, slots=1)] == [5, 5]
    assert [len(pack) for pack in packs(runs, 4, slots=1)] == [3, 3, 4]


def test_no_slot_stays_empty_while_another_has_a_full_pack():
    runs = [run for run in grid("env.engine=graph") if run.model.depth == 56]
    assert [len(pack) for pack in packs(runs, None, slots=8)] == [2, 2, 2, 2, 2]
    assert [len(pack) for pack in packs(runs, None, slots=10)] == [1] * 10


@pytest.mark.parametrize(
    ("gpus", "overrides", "largest"),
    [
        ("0", [], 5),
        ("", [], 1),
        ("0", ["env.device=cpu"], 1),
        ("0", ["env.engine=eager"], 1),
        ("0,1", ["env.devices=2"], 1),
    ],
)
def test_where_there_is_a_gpu_runs_of_one_device_go_in_packs(monkeypatch, gpus, overrides, largest):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    runs = [run for run in grid(*overrides) if run.model.depth == 56]
    assert max(len(pack) for pack in packs(runs, None, slots=1)) == largest


def test_a_graph_can_hold_no_batches_that_are_read_from_files():
    assert engine_of(compose(["task=imagenet"]), gpu=True) == "eager"
    assert engine_of(compose(["task=cifar10"]), gpu=True) == "graph"


def test_without_the_graph_engine_a_run_is_alone_unless_asked_for():
    runs = grid("env.engine=eager")
    assert [len(pack) for pack in packs(runs, None, slots=1)] == [1] * 50
    assert max(len(pack) for pack in packs(runs, 5, slots=1)) == 5


def test_packs_of_one_seed_come_longest_first():
    runs = grid("env.engine=graph", "optim.steps=3000,9000", "optim.milestones=[]", seeds="seed=3")
    costs = [max(cost(runs[number]) for number in pack) for pack in packs(runs, None, slots=2)]
    assert costs == sorted(costs, reverse=True)


def test_what_is_set_once_for_a_process_is_never_mixed():
    runs = [compose(["env.engine=graph", f"seed={seed}", f"optim.precision={p}"])
            for seed in range(3) for p in ("fp32", "tf32")]  # fmt: skip
    formed = packs(runs, None, slots=1)
    assert [{runs[number].optim.precision for number in pack} for pack in formed] == [{"fp32"}, {"tf32"}]


def test_a_pack_of_none_is_refused():
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.pack must be at least 1 or null, got 0"):
        packs(grid(), 0, slots=1)


def test_runs_on_several_devices_are_not_packed():
    runs = [compose(["env.devices=2", f"seed={seed}"]) for seed in range(2)]
    assert packs(runs, None, slots=1) == [[0], [1]]
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.pack=4 needs env\.devices=1, got 2"):
        packs(runs, 4, slots=1)
