"""The pictures and the words of the page of published optimizers, on made-up records."""

import numpy as np
import pytest

from optoscope.papers.published import PAPER
from optoscope.papers.published._setting import CONTESTANTS
from optoscope.report.papers._statements import percent
from optoscope.report.papers.published import FIGURES, words
from optoscope.report.results import write_results
from support.paper_figures import assert_drawn_and_labeled, copies, save_run

SIZES = np.geomspace(1e-8, 1e2, 11)
NAMES = ("dm", "dm_cl", "dm_il", "dm_cl_il", "rnnprop", "celo", "adam")
BY_COORDINATE = tuple(name for name in NAMES if name != "celo")
TASKS = ("home", "moons")


def made_up():
    """Records in which who changes more in silence gives back more; the first does most."""
    parts = {}
    for place, name in enumerate(NAMES):
        falls = np.geomspace(1, 0.1, 50)
        parts[f"driven-{name}"] = {
            "sizes": SIZES,
            "updates": SIZES[:, None, None] ** 0.1 * np.tile(falls, (2, 1)),
        }
        parts[f"probed-{name}"] = {
            "cosine": np.full((2, 3), 0.2),
            "isotropic": np.full((2, 3), 0.1 * (place + 1)),
            "alpha": np.full((2, 2), 1.5),
            "surrogate": np.full((2, 2), np.nan),
            "gradient_alpha": np.full((2, 2), 1.2),
        }
        parts[f"curvature-{name}"] = {
            "curvatures": np.geomspace(0.01, 1000, 4),
            "intervals": np.array([[0.0, 2.0]]),
            "outcomes": np.array(["converges"] * 3 + ["diverges" if place else "stalls"]),
            "final_sizes": np.array([1e-9, 1e-3, 1.0, np.inf]),
        }
        for task in TASKS:
            parts[f"long-{task}-{name}"] = {
                "smoothed": np.tile(np.geomspace(2, 0.1 * (place + 1), 9), (2, 1)),
                "steps": np.unique(np.geomspace(1, 20_000, 9).astype(int)),
                "first": np.full(2, 2.0),
                "early": np.full(2, 1.0 + place),
                "final": np.full(2, 0.1 * (place + 1)),
                "given_back": np.full(2, 0.8 / 4**place),
                "rate": np.asarray(0.003 if name == "adam" else np.nan),
            }
    for place, name in enumerate(BY_COORDINATE):
        parts[f"inside-{name}"] = {
            "kinds": np.array(["stable"] if place else [], dtype=np.str_),
            "drift": -0.01 * (1 + place % 3),
            "response": 0.1,
            "late_response": 0.05,
            "unrest": 10.0**-place,
            "radius": 0.5,
            "timescales": np.array([0.9, np.nan]),
            "shares": np.array([1.0, np.nan]),
            "grid": np.linspace(-1e-3, 1e-3, 5),
            "updates": np.linspace(0.1, -0.1, 5),
            "late_updates": np.linspace(0.05, -0.05, 5),
        }
    return parts


PARTS = made_up()
LABELS = PAPER.labels


@pytest.mark.parametrize("key", FIGURES)
def test_figures_are_drawn_and_labeled(key):
    expected = ["L2O-DM, both", "RNNProp"]
    expected += ["Two moons, all points"] if key == "5" else []
    assert_drawn_and_labeled(FIGURES[key], copies(PARTS, PARTS, LABELS), expected)


def test_the_sentences_say_what_the_records_hold():
    said = words(copies(PARTS, PARTS, LABELS)).sentences
    # The order of unrest is that of what is given back.
    assert "Yes, among these few.** Over the 5 learned optimizers" in said[0]
    assert "“a state that does not come to rest” foretells best" in said[0]
    assert "rank correlations of +1.00, +1.00 on the tasks, +1.00 in the mean" in said[0]
    text = "\n".join(said)
    assert "at every step by 1 (L2O-DM), 0.1 (curriculum), 0.01 (imitation)" in text
    assert "give back 80% (L2O-DM), 20% (curriculum), 5.0% (imitation)" in text
    assert "below Adam, whose rate is tuned for it, on 2 of 2 tasks" in text
    assert "their cosine to it is 0.33 (Celo) to 2.00 (L2O-DM) times" in text
    assert "largest drift is L2O-DM, imitation: 30% of the response" in text
    assert "on the tasks it gives back 0.1%, 0.1%" in text
    assert "nan" not in text


def test_the_answer_is_no_where_nothing_foretells():
    turned = dict(PARTS)
    for task in TASKS:
        for place, name in enumerate(NAMES):
            part = dict(PARTS[f"long-{task}-{name}"])
            turned[f"long-{task}-{name}"] = part | {"given_back": np.full(2, 0.1 * place)}
    assert (
        "Can one see in the weights that an optimizer will last? No.**"
        in (words(copies(turned, turned, LABELS)).sentences[0])
    )


def test_a_run_without_weights_has_the_tables_of_what_is_there(tmp_path):
    ours = {name: part for name, part in PARTS.items() if name.endswith("-adam")}
    found = words(copies(ours, ours, LABELS))
    assert set(found.tables) == {"inside", "long"}
    assert [row[0] for row in found.tables["long"][1]] == ["Adam"]
    assert "rate 0.003" in found.tables["long"][1][0][2]
    assert not words(copies((), ours, LABELS)).sentences


def test_the_page_begins_with_them(tmp_path):
    # A run holds the optimizers whose weights are there.
    (tmp_path / "data" / "weights").mkdir(parents=True)
    for name in NAMES:
        for file in CONTESTANTS[name].files[:1]:
            (tmp_path / "data" / "weights" / file).touch()
    setting = PAPER.setting(PAPER.get_scale("laptop"), 0, tmp_path / "data", 1)
    (tmp_path / "run").mkdir()
    save_run(tmp_path / "run", PAPER.manifest(PAPER.figure_keys("everything"), setting), PARTS)
    (tmp_path / "run" / "claims.json").write_text(_claims())
    page = write_results(tmp_path / "run", tmp_path / "docs").read_text(encoding="utf-8")
    assert page.index("- **Can one see") < page.index("| L2O-DM |") < page.index("Made by")
    assert "| – |" in page


def _claims():
    import json

    from support.run_files import make_claim, make_claims

    return json.dumps(make_claims(*[make_claim(one.id, "holds") for one in PAPER.claims]))


def test_shares_are_written_as_percentages():
    assert [percent(share) for share in (0.0, 0.004, 0.5, 1.0)] == ["0.0%", "0.4%", "50%", "100%"]
