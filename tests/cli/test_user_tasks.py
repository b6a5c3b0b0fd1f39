"""What is said, and when, of a person's own task that does not give what it must."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from optoscope.cli import main

TASKS = """
import jax, jax.numpy as jnp, numpy as np
from optoscope import tasks

class Bowl(tasks.Task):
    def init(self, key):
        return jax.random.normal(key, (3,))

    def sample_batch(self, key):
        return None

    def loss(self, params, batch):
        return jnp.sum(params**2)

class Vector(Bowl):
    def loss(self, params, batch):
        return params**2

class State(Bowl):
    def init_state(self, key):
        return {}

    def loss_with_state(self, params, state, batch, key):
        return jnp.sum(params**2), {"steps": jnp.zeros(())}

class Fails(Bowl):
    def loss(self, params, batch):
        return jnp.sum(params) / 0

    def init(self, key):
        return jnp.ones(1 // 0)

def unmade():
    raise RuntimeError("no such thing")

def batches(seed):
    for number in range(1000):
        if number > 2:
            raise OSError("the disk is gone")
        yield np.ones(2, np.float32)

stream = tasks.from_functions(
    lambda key: jnp.ones(2), lambda params, batch: jnp.mean((params - batch) ** 2), batches
)
"""
TRAIN = [
    "train", "rnn", "--meta-steps", "4", "--horizon", "4", "--truncation", "2",
    "--evaluate-every", "2", "--checkpoint-every", "2",
]  # fmt: skip
EVALUATE = [
    "evaluate", "adam", "--against", "sgd", "--schedules", "constant",
    "--steps", "8", "--runs", "2", "--search-points", "2",
]  # fmt: skip
TUNE = ["tune", "sgd", "--steps", "8", "--runs", "2", "--points", "2"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "problem.py"
    path.write_text(TASKS)
    return path


@pytest.mark.parametrize("command", [TRAIN, EVALUATE], ids=["train", "evaluate"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Vector", "an array of shape (3,)"),
        ("State", "a state of the structure"),
        ("Fails", "ZeroDivisionError: integer division or modulo by zero (line"),
        ("unmade", "RuntimeError: no such thing (line"),
    ],
)
def test_a_wrong_task_is_one_message_and_leaves_no_directory(file, command, name, said, capsys):
    out = file.parent / "out"
    assert main([*command, "--task", f"{file}:{name}", "--out", str(out)]) == 2
    message = capsys.readouterr().err.splitlines()
    assert len(message) == 1
    assert said in message[0]
    assert not out.exists()


def test_data_that_cannot_be_read_are_one_message(file, capsys):
    out = str(file.parent / "out")
    assert main([*EVALUATE, "--task", f"{file}:stream", "--out", out]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "OSError: the disk is gone" in message


def test_a_run_on_a_task_of_yours_goes_on_with_the_same_file_alone(file, tmp_path, capsys):
    out = tmp_path / "out"
    task = f"{file}:Bowl"
    assert main([*TRAIN, "--task", task, "--out", str(out)]) == 0
    # As after four of eight meta-steps.
    config = json.loads((out / "config.json").read_text())
    config["arguments"]["meta_steps"] = 8
    (out / "config.json").write_text(json.dumps(config))
    resume = ["train", "--resume", str(out)]
    capsys.readouterr()
    assert main(resume) == 2
    assert f"--task {task}" in capsys.readouterr().err
    file.write_text(TASKS.replace("params**2)", "params**2) + 1000.0"))
    # A process runs one command: the file is read anew in the next.
    assert _forgotten(file, [*resume, "--task", task]) == 2
    assert "has changed since this run was begun" in capsys.readouterr().err
    file.write_text(TASKS)
    # What is no source in a config.json changes nothing.
    config["sources"].append("damaged")
    (out / "config.json").write_text(json.dumps(config))
    assert _forgotten(file, [*resume, "--task", task]) == 0


def test_tasks_to_judge_on_are_code_that_must_be_typed_too(file, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--task", "rosenbrock", "--validate-on", f"{file}:Bowl"]
    assert main([*TRAIN, *words, "--out", str(out)]) == 0
    again = ["train", "--config", str(out / "config.json"), "--out", str(tmp_path / "again")]
    assert main(again) == 2
    assert f"--validate-on {file}:Bowl" in capsys.readouterr().err


PLAIN = """
import jax, jax.numpy as jnp

class Plain:
    def init(self, key):
        return jax.random.normal(key, (3,))

    def sample_batch(self, key):
        return jax.random.normal(key, (3,))

    def loss(self, params, batch):
        return jnp.sum((params - batch) ** 2)

class Plains:
    def sample(self, key):
        return Plain()

def run():
    import sys
    from optoscope.cli import main

    sys.exit(any(map(main, COMMANDS)))
"""


def test_a_task_with_no_more_than_it_must_have_is_trained_on_compared_on_and_tuned_on(tmp_path):
    """In a process of its own: here the types of signatures are checked."""
    path = tmp_path / "plain.py"
    commands = [
        [*words, "--task", f"{path}:{name}", "--out", str(tmp_path / f"{words[0]}-{name}")]
        for words in (TRAIN, EVALUATE, TUNE)
        for name in ("Plain", "Plains")
    ]
    path.write_text(f"COMMANDS = {commands}\n{PLAIN}")
    program = [sys.executable, "-c", "import plain; plain.run()"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "train-Plain" / "optimizer").is_dir()


def _forgotten(file: Path, words: list[str]) -> int:
    """Runs a command as a process would that has not read the file yet."""
    for name in [n for n, m in sys.modules.items() if getattr(m, "__file__", None) == str(file)]:
        del sys.modules[name]
    return main(words)
