"""From single measurements to medians, ratios of medians and the printed table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.rows import Row


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of one run of one server."""

    source: str
    server: str
    round: int
    figures: dict[str, float]


def median(measurements: Iterable[Measurement], source: str, server: str, figure: str) -> float | None:
    """Median of a figure over the rounds; None where it was not measured."""
    values = [
        m.figures[figure] for m in measurements if (m.source, m.server) == (source, server) and figure in m.figures
    ]
    return statistics.median(values) if values else None


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the result: both medians, their ratio, and whether the aim was reached (None: not comparable)."""

    row: Row
    zabra: float | None
    apache: float | None
    ratio: float | None
    reached: bool | None


def summarise(rows: Sequence[Row], measurements: Sequence[Measurement]) -> list[Line]:
    return [_line(row, measurements) for row in rows]


def _line(row: Row, measurements: Sequence[Measurement]) -> Line:
    zabra = median(measurements, row.source, "zabra", row.figure)
    apache = median(measurements, row.source, "apache", row.figure)
    base = apache if row.against is None else median(measurements, row.source, "zabra", row.against)
    ratio = zabra / base if zabra is not None and base else None
    return Line(row, zabra, apache, ratio, None if ratio is None else row.reached(ratio))


def number(value: float | None) -> str:
    """Three significant digits or all digits before the point, thousands separated; "-" for None."""
    if value is None:
        return "-"
    for limit, places in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{places}f}"
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


HEADS = ("row", "Zabra", "Apache", "", "ratio", "aim", "", "p50 us", "p99 us", "CPU s/1,000", "generator")


def table(lines: Sequence[Line], measurements: Sequence[Measurement]) -> str:
    """The readable result. Of two figures in a cell the first is Zabra's; "generator" is its share of one core."""
    cells = [HEADS, *(_cells(line, measurements) for line in lines)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _cells(line: Line, measurements: Sequence[Measurement]) -> tuple[str, ...]:
    row = line.row
    pairs = [
        _pair(row.source, figure, measurements) if row.figure == "rate" else ""
        for figure in ("p50_us", "p99_us", "server_cpu_s_per_1000", "generator_cpu_share")
    ]
    return (
        row.name,
        number(line.zabra),
        number(line.apache),
        row.unit,
        "-" if line.ratio is None else f"{line.ratio:.2f}x",
        f"{'>=' if row.rising else '<='} {row.aim:g}x",
        {None: "", True: "reached", False: "missed"}[line.reached],
        *pairs,
    )


def _pair(source: str, figure: str, measurements: Sequence[Measurement]) -> str:
    return " / ".join(number(median(measurements, source, server, figure)) for server in ("zabra", "apache"))
