"""Hydra's search path, with the user's own groups of settings behind those of resnet_repro; no other program's."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class OwnSettings(SearchPathPlugin):
    """What Hydra's `--config-dir` does, for every process and also for what is composed without a command line."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from resnet_repro.project import CONF, own_conf

        own = own_conf()
        places = [str(element.path).removeprefix("file://") for element in search_path.get_path()]
        if own is not None and str(CONF) in places:
            search_path.append("resnet_repro", f"file://{own}")
