"""What holds at every scale of every paper, without computing anything."""

import pytest

from optoscope.papers import PAPERS
from optoscope.papers._recipe import Recipe

SCALES = [(letter, scale) for letter, paper in PAPERS.items() for scale in paper.scales]


def test_the_papers_have_a_scale_of_a_night():
    assert [letter for letter, paper in PAPERS.items() if "long" in paper.scales] == ["A", "B", "C"]


@pytest.mark.parametrize(("letter", "name"), SCALES)
def test_the_parts_of_a_scale_are_what_their_names_say(letter: str, name: str):
    paper = PAPERS[letter]
    scale = paper.get_scale(name)
    assert scale.name == name
    setting = paper.setting(scale, 0, None, 1)
    found = {}
    for figure in paper.figures.values():
        waiting = list(figure.parts(setting))
        # Some figures are of what others published, which a scale or a machine can lack.
        assert waiting or figure.left_out(setting)
        while waiting:
            part = waiting.pop()
            # A part that several figures need is one computation.
            described = found.setdefault(part.name, (part.configuration, part.version))
            assert described == (part.configuration, part.version)
            waiting += part.needs


@pytest.mark.parametrize(
    ("letter", "name", "recipe"),
    [
        (letter, scale, recipe)
        for letter, scale in SCALES
        for recipe in getattr(PAPERS[letter].get_scale(scale), "recipes", {})
    ],
)
def test_every_stage_of_a_recipe_has_meta_steps_and_is_evaluated(letter, name, recipe):
    made: Recipe = PAPERS[letter].get_scale(name).recipes[recipe]
    assert sum(stage.meta_steps for stage in made.stages) <= made.meta_steps
    every = -(-made.meta_steps // made.evaluations)
    for stage in made.stages:
        assert stage.meta_steps >= every
        assert stage.stronger is None or stage.stronger.imitation_steps <= stage.meta_steps
