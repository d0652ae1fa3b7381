"""Known-wrong backward passes: every check catches every one, and lets the right ones pass."""

import dataclasses

import pytest

from lstm_scratch.variants import Variant
from reference.teeth import PLAIN, STACK, TEETH, VARIANTS, Tooth, broken_module, catch

CHECKS = {"central", "complex", "directions", "torch"}


@pytest.mark.parametrize("tooth", TEETH, ids=lambda tooth: tooth.name)
def test_a_tooth_is_caught_by_every_check(tooth):
    """Masks are drawn by our generator, so torch has no say in training."""
    asked = CHECKS - {"torch"} if tooth.training else CHECKS
    assert catch(tooth) == dict.fromkeys(asked, True)


def test_there_are_teeth_for_every_module_and_no_two_are_alike():
    assert len(TEETH) >= 25
    assert {tooth.module for tooth in TEETH} == {PLAIN, STACK, VARIANTS}
    assert len({tooth.name for tooth in TEETH}) == len(TEETH)
    assert len({(tooth.module, tooth.old, tooth.new, tooth.variant) for tooth in TEETH}) == len(TEETH)


UNBROKEN = sorted({(t.module.__name__, t.variant, t.training) for t in TEETH}, key=str)


@pytest.mark.parametrize(("module", "variant", "training"), UNBROKEN, ids=str)
def test_the_same_cases_unbroken_are_caught_by_none(module, variant, training):
    """A change of nothing: else a check that cries always would pass the tests above."""
    (module,) = {tooth.module for tooth in TEETH if tooth.module.__name__ == module}
    nothing = Tooth("nothing", module, "import numpy as np\n", "import numpy as np\n", variant, training)
    assert catch(nothing) == dict.fromkeys(CHECKS - {"torch"} if training else CHECKS, False)


def test_a_tooth_whose_place_is_gone_from_the_source_is_an_error():
    tooth = dataclasses.replace(TEETH[0], old="no such line")
    with pytest.raises(ValueError, match=r"input and forget gate swapped: 'no such line' is 0 times"):
        broken_module(tooth)


def test_the_real_module_stays_as_it_is():
    before = PLAIN.lstm_backward
    broken = broken_module(TEETH[0])
    assert broken.lstm_backward is not before is PLAIN.lstm_backward
    assert Variant() == TEETH[0].variant
