"""Identifiers are 12 characters, begin with a letter, and are nobody else's."""

import re
from collections import Counter

from pilothouse.ids import SeededIds, SystemIds


def test_identifiers_have_one_form_whoever_makes_them():
    for ids in (SystemIds(), SeededIds(1)):
        assert all(re.fullmatch("[a-z][0-9a-z]{11}", ids.new()) for _ in range(500))


def test_identifiers_of_the_system_do_not_repeat_and_use_every_character_in_every_place():
    made = [SystemIds().new() for _ in range(20_000)]
    assert len(set(made)) == len(made)
    places = [Counter(name[place] for name in made) for place in range(12)]
    assert [len(each) for each in places] == [26] + [36] * 11
    assert all(min(each.values()) > 0.6 * len(made) / len(each) for each in places)
