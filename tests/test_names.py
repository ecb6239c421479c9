"""Registries and the errors for names that nobody knows."""

import pytest

from undula.names import Registry, unknown_name


def test_the_nearest_name_is_suggested_and_all_are_told_where_none_is_near():
    assert (
        str(unknown_name("mixer", "atention", ["attention", "fft"]))
        == "unknown mixer 'atention'; did you mean 'attention'?"
    )
    assert str(unknown_name("mixer", "qqq", ["b", "a"])) == "unknown mixer 'qqq'; known: a, b"
    assert str(unknown_name("mixer", "x", [])) == "unknown mixer 'x'; known: none"


def test_a_registry_holds_what_is_registered():
    table = Registry("thing")

    @table.register("b")
    def second():
        return 2

    table.register("a")(int)
    assert second() == 2
    assert (table["b"], table["a"]) == (second, int)
    assert list(table) == ["a", "b"]
    assert ("a" in table, "c" in table, len(table)) == (True, False, 2)
    with pytest.raises(ValueError, match="unknown thing 'bb'; did you mean 'b'?"):
        table["bb"]


def test_a_name_is_given_once():
    table = Registry("thing")
    table.register("a")(int)
    table.register("a")(int)
    with pytest.raises(ValueError, match="thing 'a' is registered already; choose another name"):
        table.register("a")(float)
    table.remove("a")
    table.remove("a")
    assert table.register("a")(float) is float
