"""Checks optoscope on an accelerator, in under eight minutes: `make check-accelerator`.

Needs one accelerator and a Python with JAX's build for it; no data. Results must equal the
CPU's, a checkpoint of one platform must be exact on the other, and what was written for a CPU
must stay there. Then inner steps per second are printed beside `optax.adam` on the same device. The
last line is JSON. Without an accelerator two CPU devices are compared: that checks this script.

Exit status: 0 where all checks passed, 1 where one failed or was skipped, 2 where none was made.
"""

import argparse
import dataclasses
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="what does not fit is skipped, and named"
    )
    parser.add_argument("--out", type=Path, help="a file for the JSON of the last line")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only checks and rows with this in their name"
    )
    parser.add_argument(
        "--no-speed", action="store_true", help="leave the rates out, whatever the device"
    )
    parser.add_argument(
        "--speed-on-cpu",
        action="store_true",
        help="run the code of the rates on tiny sizes; the numbers mean nothing",
    )
    return parser.parse_args(arguments)


def prepare() -> None:
    """Puts the library on the path where it is not installed; two CPU devices if JAX is fresh."""
    if importlib.util.find_spec("optoscope") is None:
        sys.path.insert(0, str(_HERE.parent / "src"))
    if str(_HERE) not in sys.path:
        sys.path.insert(0, str(_HERE))
    import contextlib

    import jax

    with contextlib.suppress(RuntimeError):  # its devices are fixed once it has used one
        jax.config.update("jax_num_cpu_devices", 2)


def choose_devices() -> Any:
    """The accelerator and a CPU device, or two CPU devices.

    Raises:
        RuntimeError: JAX shows no CPU.
    """
    import jax
    from _accelerator_checks import Devices

    try:
        cpus = jax.devices("cpu")
    except RuntimeError as error:
        raise RuntimeError(
            f"JAX shows no CPU to compare with ({error}). Unset JAX_PLATFORMS, or add the CPU to "
            "it: JAX_PLATFORMS=cuda,cpu."
        ) from error
    return Devices(cpus[0], cpus[-1] if jax.default_backend() == "cpu" else jax.devices()[0])


def describe(devices: Any) -> dict[str, Any]:
    """The machine, as the JSON has it."""
    import jax
    import jaxlib

    return {
        "platform": devices.candidate.platform,
        "kind": devices.candidate.device_kind,
        "reference": devices.reference.device_kind,
        "has_accelerator": devices.has_accelerator,
        "platform_version": devices.candidate.client.platform_version.splitlines()[0],
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "python": sys.version.split()[0],
    }


def announcement(device: dict[str, Any]) -> str:
    """What is compared with what."""
    versions = f"JAX {device['jax']}, jaxlib {device['jaxlib']}, Python {device['python']}"
    if device["has_accelerator"]:
        return f"{device['kind']} ({device['platform']}) against the CPU; {versions}."
    hint = ""
    if Path("/dev/nvidia0").exists():
        hint = (
            ' There is an NVIDIA device, but this JAX does not see it: pip install "jax[cuda12]".'
        )
    return (
        f"No accelerator: two CPU devices are compared, which checks this script and not an "
        f"accelerator; {versions}.{hint}"
    )


def all_checks(devices: Any) -> list[Any]:
    """Everything but the rates, in the order in which it is made."""
    from _accelerator_equality import (
        estimator_checks,
        optimizer_checks,
        repeat_check,
        resume_checks,
    )
    from _accelerator_programs import program_checks

    return [
        *program_checks(devices),
        *optimizer_checks(devices),
        *estimator_checks(devices),
        repeat_check(devices),
        *resume_checks(devices),
    ]


def run(options: argparse.Namespace, devices: Any) -> dict[str, Any]:
    """Makes all checks and measures all rates that there is time for.

    Returns:
        What the JSON line says.
    """
    from _accelerator_checks import Clock, as_json, make_all
    from _accelerator_equality import default_precision_difference
    from _accelerator_programs import folded_reductions
    from _accelerator_speed import measure_rates, path_checks, speed_rows

    clock = Clock(options.minutes)
    device = describe(devices)
    print(announcement(device))
    print(f"{'':66s} {'difference':>10s} {'tolerance':>10s}")
    checks, rows, tiny = all_checks(devices), [], not devices.has_accelerator
    if not options.no_speed and (devices.has_accelerator or options.speed_on_cpu):
        checks += path_checks(devices.candidate, tiny)
        rows = speed_rows(tiny)
    outcomes = make_all(_named(checks, options.only), clock)
    rates = measure_rates(devices.candidate, _named(rows, options.only), clock)
    measured = bool(rates.done) and devices.has_accelerator
    precision = None
    if measured and clock.fits(5.0):
        precision = default_precision_difference(devices)
    if not measured:
        print("Nothing was measured: rates of an accelerator need an accelerator.")
    return as_json(
        {
            "device": device,
            "measured": measured,
            "checks": [dataclasses.asdict(outcome) for outcome in outcomes],
            "rates": {name: dataclasses.asdict(rate) for name, rate in rates.done.items()},
            "sizes": "tiny" if tiny else "real",
            "default_precision_difference": precision,
            "folded_reductions_in_star": folded_reductions(devices.candidate),
            "failures": [o.name for o in outcomes if o.status == "FAILED"] + list(rates.failed),
            "skipped": [o.name for o in outcomes if o.status == "skipped"] + list(rates.skipped),
            "skipped_checks": sum(o.status == "skipped" for o in outcomes),
            "seconds": clock.seconds,
        }
    )


def _named(items: list[Any], part: str) -> list[Any]:
    return [item for item in items if part in item.name]


def conclude(result: dict[str, Any], out: Path | None) -> int:
    """Prints what failed, what was skipped, and the JSON line; returns the exit status."""
    for kind, names in (("FAILED", result["failures"]), ("skipped", result["skipped"])):
        if names:
            print(f"{kind}: {len(names)}")
            print("\n".join(f"  {name}" for name in names))
    made = sum(check["status"] != "skipped" for check in result["checks"])
    print(
        f"{made - sum(c['status'] == 'FAILED' for c in result['checks'])} of "
        f"{len(result['checks'])} checks passed, {len(result['rates'])} rates were measured, in "
        f"{result['seconds']:.0f} s."
    )
    line = json.dumps(result, allow_nan=False)
    if out is not None:
        out.write_text(line + "\n", encoding="utf-8")
    print(line, flush=True)
    if not made:
        return 2
    # A check that was not made has not passed; a rate that was not measured fails nothing.
    return int(bool(result["failures"]) or result["skipped_checks"] > 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole command; returns its exit status."""
    options = parse(arguments)
    prepare()
    try:
        devices = choose_devices()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    return conclude(run(options, devices), options.out)


if __name__ == "__main__":
    sys.exit(main())
