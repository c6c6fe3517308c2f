"""Medians, ratios and the table of the benchmark."""

from __future__ import annotations

import pytest
from bench import rows
from bench.report import Measurement, median, number, summarise, table


def rates(source: str, server: str, *values: float) -> list[Measurement]:
    return [
        Measurement(source, server, turn, {"rate": value, "p99_us": value / 10}) for turn, value in enumerate(values, 1)
    ]


class TestMedian:
    def test_takes_the_middle_round_of_that_server_and_source_only(self) -> None:
        measured = rates("get-1", "zabra", 10, 500, 20) + rates("get-1", "apache", 1) + rates("set-1", "zabra", 2)
        assert median(measured, "get-1", "zabra", "rate") == 20

    def test_is_none_for_what_was_not_measured(self) -> None:
        assert median(rates("get-1", "zabra", 10), "get-1", "apache", "rate") is None
        assert median(rates("get-1", "zabra", 10), "get-1", "zabra", "seconds") is None


class TestSummary:
    def test_more_is_better_for_a_rate(self) -> None:
        (line,) = summarise(rows.select(["get-1"]), rates("get-1", "zabra", 210) + rates("get-1", "apache", 100))
        assert (line.ratio, line.reached) == (2.1, True)

    def test_less_is_better_for_a_time(self) -> None:
        measured = [
            Measurement("watch", "zabra", 1, {"last_event_ms": 6.0}),
            Measurement("watch", "apache", 1, {"last_event_ms": 10.0}),
        ]
        (line,) = summarise(rows.select(["watch"]), measured)
        assert (line.ratio, line.reached) == (0.6, False)

    def test_reads_during_a_snapshot_are_held_against_the_same_server_without(self) -> None:
        figures = {"during_p99_us": 300.0, "without_p99_us": 200.0}
        (line,) = summarise([rows.SNAPSHOT], [Measurement("million", "zabra", 1, figures)])
        assert (line.ratio, line.reached, line.apache) == (1.5, True, None)

    def test_one_server_alone_has_no_ratio(self) -> None:
        (line,) = summarise(rows.select(["get-1"]), rates("get-1", "zabra", 210))
        assert (line.ratio, line.reached) == (None, None)


class TestTable:
    def test_shows_both_servers_the_ratio_and_the_verdict(self) -> None:
        measured = rates("get-1", "zabra", 210_000) + rates("get-1", "apache", 100_000)
        row = table(summarise(rows.select(["get-1"]), measured), measured).splitlines()[1]
        assert row.split()[:8] == ["get-1", "210,000", "100,000", "/s", "2.10x", ">=", "2x", "reached"]
        assert "21,000 / 10,000" in row

    @pytest.mark.parametrize(
        ("value", "text"),
        [(None, "-"), (1234567.8, "1,234,568"), (99.94, "99.9"), (7.85, "7.85"), (0.489, "0.489"), (0.0042, "0.0042")],
    )
    def test_numbers_keep_about_three_digits(self, value: float | None, text: str) -> None:
        assert number(value) == text


class TestRows:
    def test_all_ten_comparisons_of_the_table_are_there(self) -> None:
        assert len(rows.LOADS) == 6
        assert {row.source for row in rows.SINGLE} - {row.name for row in rows.LOADS} == {"watch", "start", "million"}
        assert len({row.name for row in rows.ALL}) == len(rows.ALL)

    def test_a_source_selects_all_of_its_rows_in_table_order(self) -> None:
        assert [row.name for row in rows.select(["start", "get-64"])] == ["get-64", "start", "start-memory"]

    def test_a_group_selects_the_rows_of_one_server_or_of_three(self) -> None:
        assert rows.select(["single"]) == list(rows.SINGLE)
        assert rows.select(["watch", "ensemble"]) == [rows.WATCH, *rows.ENSEMBLE]
        assert {row.name.startswith("ensemble-") for row in rows.ENSEMBLE} == {True}

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no row nonsense"):
            rows.select(["get-1", "nonsense"])
