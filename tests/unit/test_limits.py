"""Which JSON is sound enough to look at."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.limits import DEEPEST, MOST_ITEMS, BadJson, check_json

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS, st.booleans())
def test_ordinary_documents_pass(document: object, is_ascii: bool) -> None:
    check_json(json.dumps(document, ensure_ascii=is_ascii).encode())


@given(DOCUMENTS, st.sampled_from(["\0", "\ud800"]))
def test_a_character_that_cannot_be_stored_is_found_anywhere(document: object, bad: str) -> None:
    for holder in ([document, f"a{bad}b"], {f"{bad}key": document}, [{"x": [{"y": bad}]}, document]):
        with pytest.raises(BadJson):
            check_json(json.dumps(holder).encode())


@pytest.mark.parametrize(("levels", "is_sound"), [(1, True), (DEEPEST, True), (DEEPEST + 1, False)])
def test_the_levels_are_counted(levels: int, is_sound: bool) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = opening * levels + (b"1" if opening != b"[" else b"") + closing * levels
        if is_sound:
            check_json(body)
        else:
            with pytest.raises(BadJson):
                check_json(body)


@pytest.mark.parametrize(("items", "is_sound"), [(MOST_ITEMS, True), (MOST_ITEMS + 1, False)])
def test_the_elements_are_counted(items: int, is_sound: bool) -> None:
    body = json.dumps([0] * items).encode()

    if is_sound:
        check_json(body)
    else:
        with pytest.raises(BadJson):
            check_json(body)
