"""Particles over devices and processes: the same keys give the same meta-gradient, anywhere."""

import os
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest

_PROGRAM = """
    import os, signal, sys
    import jax
    process, processes, devices, steps, directory, dies_at = sys.argv[1:7]
    process, processes, devices, steps = int(process), int(processes), int(devices), int(steps)
    jax.config.update("jax_num_cpu_devices", devices // processes)
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            "localhost:" + sys.argv[7], processes, process, heartbeat_timeout_seconds=10)
    import jax.numpy as jnp
    import optax
    from optoscope import optimizers
    from optoscope._core.errors import OptoscopeError
    from optoscope.meta import PES, Trainer
    from optoscope.tasks import LeastSquares, TaskDistribution

    class Bowls(TaskDistribution):
        def sample(self, key):
            matrix, target, start = (
                jax.random.normal(jax.random.fold_in(key, index), shape)
                for index, shape in enumerate([(3, 2), (3,), (2,)]))
            return LeastSquares(matrix, target, start, jnp.zeros(()))

    evaluations = []

    def evaluation(optimizer):
        evaluations.append(1)
        if process == 1 and len(evaluations) == int(dies_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.0

    estimator = PES(Bowls(), num_particles=8, horizon=9, truncation=4, devices=devices)
    trainer = Trainer(
        estimator, optax.sgd(1e-3), steps_per_call=1, checkpoint_every=1,
        evaluation=evaluation, evaluate_every=1)
    optimizer = optimizers.momentum(0.05)
    if processes == 1 and devices > 1:
        workers = jax.jit(lambda key: estimator.init(optimizer, key))(jax.random.key(0))
        assert len(workers.params.sharding.device_set) == devices
    try:
        result = trainer.run(
            optimizer, steps, key=jax.random.key(0),
            directory=None if directory == "-" else directory,
            on_report=lambda report: print(
                "report", report.step, report.meta_loss, report.gradient_norm, flush=True))
    except OptoscopeError as error:
        print("stopped:", type(error).__name__, error, flush=True)
        os._exit(2)
    print("end", *(float(leaf) for leaf in jax.tree.leaves(result.optimizer)), flush=True)
"""


def _start(process, processes, devices, steps, directory="-", dies_at=0, port=0):
    arguments = [process, processes, devices, steps, directory, dies_at, port]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def _outputs(processes, timeout=600):
    try:
        return [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()


def _numbers(output, word):
    return np.array(
        [
            [float(number) for number in line.split()[1:]]
            for line in output.splitlines()
            if line.startswith(word)
        ]
    )


def _alone(devices, steps, directory="-"):
    process = _start(0, 1, devices, steps, directory)
    ((output, errors),) = _outputs([process])
    assert process.returncode == 0, errors
    return output


def _together(steps, directory="-", dies_at=0):
    """Two processes of one device each: their outputs and how they ended."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [_start(index, 2, 2, steps, directory, dies_at, port) for index in range(2)]
    outputs = _outputs(processes)
    return outputs, [process.returncode for process in processes]


def _same(first, second):
    for word in ("report", "end"):
        wanted, got = _numbers(first, word), _numbers(second, word)
        assert wanted.size
        np.testing.assert_allclose(got, wanted, rtol=2e-4)


def test_four_devices_give_the_meta_gradients_of_one():
    _same(_alone(1, 4), _alone(4, 4))


@pytest.mark.slow
def test_two_processes_give_the_meta_gradients_of_one_and_checkpoints_pass_between_them(tmp_path):
    whole = _alone(1, 4)
    for name, first, second in (("apart", 2, 1), ("together", 1, 2)):
        directory = tmp_path / name
        for processes, steps in ((first, 2), (second, 4)):
            if processes == 1:
                output = _alone(1, steps, directory)
            else:
                outputs, codes = _together(steps, directory)
                assert codes == [0, 0], outputs
                output = outputs[0][0]
                # Only the first reports, and both end with the same optimizer.
                assert "report" not in outputs[1][0]
                np.testing.assert_array_equal(
                    _numbers(output, "end"), _numbers(outputs[1][0], "end")
                )
        np.testing.assert_allclose(_numbers(output, "end"), _numbers(whole, "end"), rtol=2e-4)
        np.testing.assert_allclose(
            _numbers(output, "report"), _numbers(whole, "report")[2:], rtol=2e-4
        )
        assert len((directory / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_process_that_dies_stops_the_run_which_then_resumes(tmp_path):
    outputs, codes = _together(6, tmp_path, dies_at=3)
    assert codes[1] == -9
    assert codes[0] != 0
    assert "Start all processes again to go on from the newest checkpoint" in outputs[0][0]
    assert "end" not in outputs[0][0]
    outputs, codes = _together(6, tmp_path)
    assert codes == [0, 0], outputs
    np.testing.assert_allclose(
        _numbers(outputs[0][0], "end"), _numbers(_alone(1, 6), "end"), rtol=2e-4
    )
