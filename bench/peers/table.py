"""The results as text and as a chart."""

import dataclasses
import statistics
from collections.abc import Iterable


@dataclasses.dataclass
class Row:
    subject: str
    threads: int
    by: str  # "Gradus", "PyTorch eager", …
    option: str = ""  # the way of running it that was fastest
    seconds: list[float] = dataclasses.field(default_factory=list)  # of each round
    compile_cold: float | None = None  # seconds
    compile_warm: float | None = None
    memory: int | None = None  # bytes at most
    losses: list[float] = dataclasses.field(default_factory=list)  # of the first steps
    loss_off: list[float] = dataclasses.field(default_factory=list)  # Gradus' relative difference
    best_peer: float | None = None  # its seconds over these

    @property
    def is_peer(self) -> bool:
        return not self.by.startswith("Gradus")

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def rate(rows: list[Row]) -> None:
    """Compares the rows of one subject and number of threads with the best peer among them."""
    best = min((row.median for row in rows if row.is_peer and row.seconds), default=None)
    for row in rows:
        if best is not None and row.seconds:
            row.best_peer = best / row.median


def number(value: float | None, form: str, factor: float = 1) -> str:
    return "-" if value is None else format(factor * value, form)


def milliseconds(row: Row) -> str:
    if not row.seconds:
        return "-"
    values = (row.median, min(row.seconds), max(row.seconds))
    middle, least, most = (f"{1e3 * value:.{2 if row.median < 0.1 else 1}f}" for value in values)
    return f"{middle} ({least} - {most})"


def off(row: Row, step: int) -> str:
    return f"{row.loss_off[step - 1]:.1e}" if len(row.loss_off) >= step else "-"


HEADINGS = ("threads", "by", "ms per step (range)", "best peer / it", "compile s, cold", "warm",
            "peak MB", "loss off, step 1", "step 5")


def cells(row: Row) -> tuple[str, ...]:
    by = f"{row.by}, {row.option}" if row.option else row.by
    return (str(row.threads), by, milliseconds(row), number(row.best_peer, ".2f"),
            number(row.compile_cold, ".2f"), number(row.compile_warm, ".2f"),
            number(row.memory, ".0f", 1e-6), off(row, 1), off(row, 5))


WIDTHS = (7, 30, 28, 14, 15, 7, 8, 16, 8)


def line(values: Iterable[str]) -> str:
    fields = []
    for i, (value, width) in enumerate(zip(values, WIDTHS)):
        fields.append(f"{value:<{width}}" if i == 1 else f"{value:>{width}}")
    return "  ".join(fields).rstrip()


COLOURS = {"Gradus": "#2a6f97", "Gradus unfused": "#a9d6e5", "PyTorch eager": "#ee6c4d",
           "torch.compile": "#f4a261", "JAX jit": "#8ab17d"}


def chart(rows: list[Row]) -> str:
    """An SVG of horizontal bars, each group on a scale of its own."""
    parts, y = [], 26
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row.seconds:
            groups.setdefault((row.subject, row.threads), []).append(row)
    for (subject, threads), group in groups.items():
        longest = max(row.median for row in group)
        title = f"{subject}; {threads} thread{'s' if threads > 1 else ''}"
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{title}</text>')
        y += 8
        for row in group:
            width = max(1.0, 420 * row.median / longest)
            text = f"{1e3 * row.median:.{2 if row.median < 0.1 else 0}f} ms"
            parts.append(
                f'<rect x="120" y="{y}" width="{width:.1f}" height="16" fill="{COLOURS[row.by]}"/>'
                f'<text x="112" y="{y + 12}" text-anchor="end">{row.by}</text>'
                f'<text x="{126 + width:.1f}" y="{y + 12}">{text}</text>')
            y += 20
        y += 22
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{y}" '
        f'font-family="sans-serif" font-size="12"><rect width="640" height="{y}" fill="white"/>'
        + "\n".join(parts) + "</svg>\n")
