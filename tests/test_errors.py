"""How commands end: in one line for what the user can mend, with a traceback for what is ours."""

import errno
import os
import subprocess
import sys

import pytest

from resnet_repro import records
from resnet_repro.config import ConfigError
from resnet_repro.data import MissingData
from resnet_repro.errors import NOT_READ, STOPPED, UserError, command, sentence


def raising(error):
    def body():
        raise error

    return body


@pytest.mark.parametrize("kind", [ConfigError, MissingData, records.Busy])
def test_what_is_the_users_to_mend_has_one_type(kind):
    assert issubclass(kind, UserError)


def test_a_users_error_ends_a_command_in_one_line():
    with pytest.raises(SystemExit) as end:
        command(raising(UserError("depth is 21;\n  choose 20")))
    assert end.value.code == "error: depth is 21; choose 20"  # a text as exit code is printed, and the code is 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOLCK])
def test_an_error_of_the_operating_system_is_told_with_its_path_and_a_remedy(number):
    with pytest.raises(SystemExit) as end:
        command(raising(OSError(number, os.strerror(number), "/data/x")))
    assert str(end.value.code).startswith(f"error: /data/x: {os.strerror(number)}: ")
    assert len(str(end.value.code).splitlines()) == 1


@pytest.mark.parametrize("error", [ValueError("ours"), OSError("no number"), ConnectionResetError(104, "reset")])
def test_an_error_of_ours_keeps_its_traceback(error):
    assert sentence(error) is None
    with pytest.raises(type(error)):
        command(raising(error))


@pytest.mark.parametrize("answer", [0, 1, 75])
def test_a_command_ends_with_the_code_that_its_body_returns(answer):
    with pytest.raises(SystemExit) as end:
        command(lambda: answer)
    assert end.value.code == answer


def test_ctrl_c_ends_in_a_sentence(capsys):
    with pytest.raises(SystemExit) as end:
        command(raising(KeyboardInterrupt()))
    assert end.value.code == STOPPED
    assert capsys.readouterr().err == "\nStopped. The same command goes on from here.\n"


def test_output_that_nobody_reads_ends_a_command_quietly():
    script = "from resnet_repro.errors import command\ncommand(lambda: print('x' * 1_000_000))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", NOT_READ)
    process.stderr.close()
