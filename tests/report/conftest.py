import pytest

from support.run_files import (
    CLAIMS,
    EXPLANATION,
    make_losses,
    make_metrics,
    make_probes,
    make_results,
    make_search,
    write_run,
)


@pytest.fixture(scope="session")
def make_full_run():
    """Writes a run with every kind of record."""
    return _full_run


@pytest.fixture
def full_run(tmp_path):
    return _full_run(tmp_path)


def _full_run(folder):
    return write_run(
        folder / "run",
        results=make_results(),
        losses=make_losses(),
        search=make_search(),
        metrics=make_metrics(),
        probes=make_probes(),
        claims=CLAIMS,
        explanation=EXPLANATION,
        config={
            "command": "demo",
            "seed": 0,
            "task": {"name": "digits-mlp-sigmoid"},
            "versions": {"optoscope": "0.1.0", "jax": "0.10"},
        },
    )
