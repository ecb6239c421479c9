import pytest

from undula.viz.scaling import scaling


def test_every_line_stands_where_its_numbers_are():
    series = {f"m{i}": [(1024, 1.0 + i), (4096, 4.0 + i)] for i in range(10)}
    (ax,) = scaling(series, "Seconds").axes
    assert [line.get_xydata().tolist() for line in ax.lines] == [
        [list(p) for p in points] for points in series.values()
    ]
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "Seconds")
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 10
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1,024", "4,096"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(series)


def test_what_a_logarithm_cannot_show_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        scaling({"a": []}, "Seconds")
    with pytest.raises(ValueError, match="'a' has values that are not positive"):
        scaling({"a": [(1, 0.0)]}, "Seconds")
