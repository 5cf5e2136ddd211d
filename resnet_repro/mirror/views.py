"""Views of W&B, workspaces and reports, saved in place: the same command again changes them, and makes no new ones."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_repro import records

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.workspaces import Workspace

    View = Workspace | Report

FILE = "views.json"
"""In W&B's folder beside the runs: what W&B calls the views that were saved from there."""


def save(title: str, view: "View", folder: Path) -> str:
    """Saves it, where it was saved before if that is there still; returns its address. Raises what W&B raises.

    folder: W&B's, where it is remembered which view that was. title: by which, on that server, in entity and project.
    """
    import wandb
    from wandb_workspaces._graphql import get_app_url

    key = f"{get_app_url(wandb.Api()).rstrip('/')}/{view.entity}/{view.project}: {title}"
    known = _known(folder)
    if key in known and _is_there(known[key]["id"]):
        _take_place_of(view, known[key])
    view.save()
    folder.mkdir(parents=True, exist_ok=True)
    records.write_json(folder / FILE, known | {key: _names(view)})
    return str(view.url)


def _known(folder: Path) -> dict[str, dict[str, str]]:
    with suppress(OSError, ValueError):  # nothing was saved yet
        return dict(json.loads((folder / FILE).read_text(encoding="utf-8")))
    return {}


def _is_there(view: str) -> bool:
    """Whether the view was not removed in W&B since: an answer that it is not there may come as an error."""
    import wandb
    from wandb_workspaces._graphql import execute_graphql
    from wandb_workspaces.reports.v2 import gql

    with suppress(Exception):
        return bool(execute_graphql(wandb.Api(), gql.view_report, {"reportId": view}).get("view"))
    return False


def _take_place_of(view: Any, before: dict[str, str]) -> None:
    if hasattr(view, "_internal_id"):
        view._internal_id, view._internal_name = before["id"], before["name"]
    else:
        view.id = before["id"]


def _names(view: Any) -> dict[str, str]:
    """What W&B calls it: its id and, of a workspace, the name in its address."""
    if hasattr(view, "_internal_id"):
        return {"id": view._internal_id, "name": view._internal_name}
    return {"id": view.id, "name": ""}
