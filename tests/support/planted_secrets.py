"""Secrets in the environment of a command, and where they are found again."""

import contextlib
import os
import subprocess

import psutil

PLANTED = {
    name: f"planted{number}Secret{number}of{name.title().replace('_', '')}"
    for number, name in enumerate(
        [
            *("HF_TOKEN", "OPENAI_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            *("QSIT_SERVICE_TOKEN", "QSIT_JUDGE_KEY", "QSIT_CONVERTER_KEY", "QSIT_MODEL_KEY"),
            *("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD"),
        ]
    )
}


def in_text(text):
    """Names of the variables whose values are in a text."""
    return [name for name, value in PLANTED.items() if value in text]


def in_files(folder):
    """(path, name) of each value that is in a file below a folder, or in its name."""
    found = []
    for path in folder.rglob("*"):
        content = path.read_bytes().decode("latin-1") if path.is_file() else ""
        found += [(path, name) for name in in_text(content + str(path))]
    return found


def arguments(pid):
    """The command lines of a process and of all that it has started."""
    try:
        known = psutil.Process(pid)
        family = [known, *known.children(recursive=True)]
    except psutil.NoSuchProcess:
        return set()
    lines = set()
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            lines.add(" ".join(process.cmdline()))
    return lines


def listening(pid):
    """(process, address) of each port on which a process or one that it has started listens."""
    known = psutil.Process(pid)
    found = set()
    for process in [known, *known.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            for each in process.net_connections(kind="inet"):
                if each.status == psutil.CONN_LISTEN:
                    found.add((process.name(), each.laddr.ip.removeprefix("::ffff:")))
    return found


def run(command, temporary):
    """(status, output, command lines) of a command with the secrets. Ray's session folder, with its
    logs, is below `temporary`; command lines are looked up at the start and at each line of the
    output."""
    environment = {**os.environ, **PLANTED, "RAY_TMPDIR": str(temporary)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    output = []
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
        seen = arguments(process.pid)
        for line in process.stdout:
            output.append(line)
            seen |= arguments(process.pid)
    return process.returncode, "".join(output), seen
