"""From a run to its trained network: PyTorch's settings, the initial weights, Lightning's trainer."""

import logging
import os
import warnings
from dataclasses import asdict
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

from resnet_repro import records
from resnet_repro.config import ConfigError, Run
from resnet_repro.data import Images
from resnet_repro.nets import CifarNet
from resnet_repro.training import parallel
from resnet_repro.training.engine import optimizer
from resnet_repro.training.module import Checkpoint, Training


def fit(run: Run, images: Images, place: Path) -> Training:
    """The Lightning module after training, on the device where it trained; goes on from the checkpoint in `place`.

    With 0 steps it is the network at its initialisation, ready to be measured.
    Raises ConfigError for a device that is not there, KeyboardInterrupt on Ctrl-C.
    """
    device = _set_up(run)
    module = Training(run, build(run, images), images, place)
    if run.optim.steps > 0:
        with parallel.together(run, place, device):
            device = parallel.local_device(run, device)
            _train(module, device, place)
    module.to(device)  # Lightning leaves it on the CPU
    if run.optim.steps == 0:
        module.begin(optimizer(run, module.net))
    return module


def _set_up(run: Run) -> torch.device:
    """Sets threads, determinism and precision of this process; returns the device."""
    # The cuBLAS setting must be there before the first CUDA call; without it deterministic algorithms refuse.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(run.env.threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("high" if run.optim.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = run.optim.precision == "tf32"
    if run.env.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("env.device=cuda, but torch sees no CUDA device; use env.device=cpu or auto")
    return torch.device("cuda" if run.env.device != "cpu" and torch.cuda.is_available() else "cpu")


def build(run: Run, images: Images) -> CifarNet:
    """The run's network on the CPU, with initial weights that depend on the seed and not on the arm."""
    settings = asdict(run.model)
    net = CifarNet(
        settings.pop("depth"),
        **settings,
        classes=images.classes,
        in_channels=images.train_x.shape[1],
        generator=torch.Generator().manual_seed(run.seed),
    )
    layout = torch.channels_last if run.env.channels_last else torch.contiguous_format
    return net.to(memory_format=layout)  # type: ignore[call-overload]


def _train(module: Training, device: torch.device, place: Path) -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    trainer = pl.Trainer(
        accelerator=device.type,
        devices=1 if device.index is None else [device.index],
        max_epochs=-1,
        callbacks=[Checkpoint(place, module.run.env.checkpoint_seconds)],
        plugins=[LightningEnvironment()],  # on a cluster too, one process trains one run and no handler is Lightning's
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=place,
    )
    try:
        trainer.fit(module, ckpt_path=records.checkpoint(place))
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit code 1
            raise KeyboardInterrupt from stop
        raise
