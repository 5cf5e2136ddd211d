"""The mirror's process, which is told what to follow in the first line of its input (mirror.following starts it)."""

import json
import sys

from resnet_repro.errors import command
from resnet_repro.mirror.runs import follow

if __name__ == "__main__":
    command(lambda: follow(json.loads(sys.stdin.readline()), sys.stdin))
