"""What the tables say: the verdicts, the errors of every cell, and ours beside the papers'."""

from resnet_repro.analysis.tables.errors import distinguishing, error_table
from resnet_repro.analysis.tables.papers import paper_table
from resnet_repro.analysis.tables.shown import interval
from resnet_repro.analysis.tables.verdicts import changes, estimate, notes, region, remark, verdict_table

__all__ = [
    "changes",
    "distinguishing",
    "error_table",
    "estimate",
    "interval",
    "notes",
    "paper_table",
    "region",
    "remark",
    "verdict_table",
]
