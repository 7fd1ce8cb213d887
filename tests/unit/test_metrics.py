"""Prometheus' text format, read by its own parser."""

import math

from hypothesis import given, strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tifftockd.metrics import Family, Histogram, Sample, render


def parsed(*families):
    return list(text_string_to_metric_families(render(families).decode()))


def test_a_gauge_a_counter_and_an_empty_family():
    gauge, counter, empty = parsed(
        Family("g", "gauge", "of one", [Sample(1.5)]),
        Family("c_total", "counter", "of two", [Sample(1, {"a": "x", "b": "y"}), Sample(2, {"a": "z", "b": ""})]),
        Family("e", "gauge", "of none", []),
    )
    assert (gauge.name, gauge.type, gauge.documentation, gauge.samples[0].value) == ("g", "gauge", "of one", 1.5)
    assert [(one.name, one.labels, one.value) for one in counter.samples] == [
        ("c_total", {"a": "x", "b": "y"}, 1),
        ("c_total", {"a": "z", "b": ""}, 2),
    ]
    assert empty.samples == []


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_a_label_holds_it_is_read_as_it_was(text):
    [family] = parsed(Family("g", "gauge", "x", [Sample(1, {"label": text})]))
    assert family.samples[0].labels == {"label": text}


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_what_is_not_above_each_bound(values):
    histogram = Histogram([0.5, 1.0, 10.0])
    for value in values:
        histogram.observe(value)
    [family] = parsed(Family("h", "histogram", "x", histogram.samples()))
    found = {(one.name, one.labels.get("le")): one.value for one in family.samples}
    for bound in (0.5, 1.0, 10.0, math.inf):
        le = "+Inf" if bound == math.inf else str(bound)
        assert found["h_bucket", le] == sum(value <= bound for value in values)
    assert found["h_count", None] == len(values)
    assert math.isclose(found["h_sum", None], sum(values))
