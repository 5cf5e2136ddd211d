"""The on-disk form of a run: one folder runs/<run_id>/, and what says in which state it is.

    record.json      exists = the run is finished; written last, once, atomically, with a hash of itself
    points.csv       step,metric,x,y,value rows, appended while training; record.json holds its hash
    run.json         config, command and the hash of the data; written when the run begins
    checkpoint-*     the newest checkpoint; its name holds the step and the hash of its content
    lock             held by the process that trains the run; dies with it
    log.txt          what the process printed
    net.safetensors, config.json   the trained network, where measure.keep asks for it; record.json holds its hash
    superseded-*     what the run was before it was measured again, with more

Training writes it; collect.py copies it into results/<experiment>/data. No torch here. Locks, files that are whole or
absent, points, and the record with its network and checkpoint have a file each.
"""

from resnet_repro.records.files import set_aside, write_atomically, write_json
from resnet_repro.records.locks import Busy, is_locked, lock, open_locked
from resnet_repro.records.points import (
    CURVES,
    HEADER,
    POINTS,
    Point,
    append_points,
    from_curves,
    last_step,
    read_points,
    write_points,
)
from resnet_repro.records.record import (
    check_writable,
    checkpoint,
    complete,
    folder,
    keep_checkpoint,
    keep_network,
    kept,
    lacking,
    network,
    read,
    read_with_points,
    replace,
    seems_complete,
    state,
    supersede,
    with_more,
    write,
)

__all__ = [
    "CURVES", "HEADER", "POINTS", "Busy", "Point", "append_points", "check_writable", "checkpoint", "complete",
    "folder", "from_curves", "is_locked", "keep_checkpoint", "keep_network", "kept", "lacking", "last_step", "lock",
    "network", "open_locked", "read", "read_points", "read_with_points", "replace", "seems_complete", "set_aside",
    "state", "supersede", "with_more", "write", "write_atomically", "write_json", "write_points",
]  # fmt: skip
