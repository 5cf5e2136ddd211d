"""How a command ends: one line for what is the user's to mend, a traceback only for what is ours.

Every command goes through `command`; inside a Hydra job, which would print a traceback itself, through `told`.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import NoReturn


class UserError(ValueError):
    """An error that is the user's to mend; its message names the value, the rule and the remedy, in one line."""


STOPPED = 130
"""The exit code after Ctrl-C, as of a shell's command that SIGINT ends."""
NOT_READ = 141
"""The exit code when nobody reads the output any more (`make plan | head`), as of a command that SIGPIPE ends."""

OURS = {"MPLBACKEND": "agg"}
"""Variables that the user's environment holds for other programs, as this one and its processes have them: a
notebook names a backend for Matplotlib that cannot be loaded outside of it."""
NOT_OURS = ("PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONSTARTUP", "PYTHONINSPECT")
"""Variables that our processes do not inherit: they would turn a library's warning into the end of a run."""

ELSEWHERE = "or name another folder (env.runs_dir, env.data_dir, --results)"
SURROUNDINGS = {
    errno.EACCES: f"give yourself the right to it, {ELSEWHERE}",
    errno.EPERM: f"give yourself the right to it, {ELSEWHERE}",
    errno.EROFS: f"make it writable, {ELSEWHERE}",
    errno.ENOSPC: f"free some space, {ELSEWHERE}",
    errno.EDQUOT: f"free some of your quota, {ELSEWHERE}",
    errno.ENOTDIR: f"move away the file that stands where a folder should be, {ELSEWHERE}",
    errno.EISDIR: "move away the folder that stands where a file should be",
    errno.EEXIST: f"move away what stands there, or mend the link that leads nowhere, {ELSEWHERE}",
    errno.ELOOP: f"mend the link that leads back to itself, {ELSEWHERE}",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOLCK: f"use a file system with file locks, {ELSEWHERE}",
    errno.EIO: f"look after the disk, {ELSEWHERE}",
    errno.ESTALE: f"mount the file system anew, {ELSEWHERE}",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "end programs that hold many files open",
}
"""The operating system's errors that are the user's to mend, and how."""


def sentence(error: BaseException) -> str | None:
    """What to tell of an error that is the user's to mend, in one line; None for every other."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in SURROUNDINGS:
        paths = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        place = f"{' to '.join(paths)}: " if paths else ""
        return f"{place}{error.strerror}: {SURROUNDINGS[error.errno]}"
    return None


@contextmanager
def told() -> Iterator[None]:
    """Ends the program with `error: ...` and code 1 where the body fails by what is the user's to mend."""
    try:
        yield
    except (UserError, OSError) as error:
        words = sentence(error)
        if words is None:
            raise
        raise SystemExit(f"error: {words}") from error


def command(body: Callable[[], int | None]) -> NoReturn:
    """Runs a command and ends the program with the code that it returns (None: 0)."""
    _read_and_print_utf8()
    os.environ.update(OURS)
    for name in NOT_OURS:
        os.environ.pop(name, None)
    try:
        with told():
            code = body() or 0
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        code = STOPPED
    except (BrokenPipeError, SystemExit) as end:
        # Rich makes an exit of a broken pipe.
        if isinstance(end, SystemExit) and not isinstance(end.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not written at the end either
        code = NOT_READ
    sys.exit(code)


def _read_and_print_utf8() -> None:
    """Starts this program again in UTF-8 where the locale knows ASCII only, and a title like Zürich would be damaged.

    The arguments have been decoded and the standard streams been opened before the first line of ours ran.
    """
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a λ that the terminal cannot show ends no run
            stream.reconfigure(errors="backslashreplace")
