"""Named statements."""

import pytest

from engine.core.sql import parse

SOURCE = """-- name: find
-- Finds one: at most.
SELECT id::text FROM things WHERE id = :thing_id AND (owner = :owner OR maker = :owner);
-- name: count
-- Counts.
SELECT count(*) FROM things
"""


def test_names_become_places_and_casts_stay() -> None:
    find = parse(SOURCE)["find"]

    assert find.text == "SELECT id::text FROM things WHERE id = $1 AND (owner = $2 OR maker = $2)"
    assert find.names == ("thing_id", "owner")
    assert find.promise == "Finds one: at most."


def test_a_missing_and_an_unknown_value_are_refused() -> None:
    find = parse(SOURCE)["find"]

    assert find.arguments({"owner": 2, "thing_id": 1}) == [1, 2]
    with pytest.raises(TypeError):
        find.arguments({"thing_id": 1})
    with pytest.raises(TypeError):
        find.arguments({"thing_id": 1, "owner": 2, "x": 3})
