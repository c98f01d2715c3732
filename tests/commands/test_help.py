"""What the program says of itself, and of a command that it does not have."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from study.commands import COMMANDS, main
from study.version import __version__
from tests.command_help import every_command, help_of


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_help_fits_80_columns_and_names_its_command(words: tuple[str, ...]) -> None:
    lines = help_of(*words).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert lines[0].startswith(f"usage: {' '.join(['study', *words])} ")


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_option_and_argument_has_a_help_text(words: tuple[str, ...]) -> None:
    bare = re.findall(r"^  (\S.*?)\n(?!  {6,}\S)", help_of(*words) + "\n", re.MULTILINE)
    assert [line for line in bare if "  " not in line.strip() and not line.startswith("{")] == []


def test_the_program_lists_every_command_with_what_it_does() -> None:
    listed = dict(re.findall(r"^  ([a-z]+) {2,}(\S.*)$", help_of(), re.MULTILINE))
    assert listed == {name: does for name, (_, does) in COMMANDS.items()}


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"study {__version__}\n"


def test_an_unknown_command_ends_with_2_and_one_message_that_names_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rnu", "configs/smoke.yaml"])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (message,) = [line for line in printed.err.splitlines() if line.startswith("study: error: ")]
    assert "rnu" in message
    assert [name for name in COMMANDS if name not in message] == []


def test_no_command_prints_the_help_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: study COMMAND" in capsys.readouterr().out


@pytest.mark.slow
def test_output_that_nobody_reads_to_its_end_ends_the_command_quietly() -> None:
    config = str(Path(__file__).parents[2] / "configs" / "smoke.yaml")
    command = [sys.executable, "-m", "study.grid", config, "--dry-run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 128 + signal.SIGPIPE, errors
    assert "Error" not in errors
