"""What a fork server imports once for all runs. Nothing here may start threads or touch CUDA."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy and SciPy start their threads when imported

import pytorch_lightning  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch  # noqa: F401

import resnet_repro.data  # noqa: F401
import resnet_repro.nets  # noqa: F401
import resnet_repro.training.fit  # noqa: F401
from resnet_repro import provenance

provenance.commit()  # of the code that was imported here, whatever is committed while the runs go on
