"""The picture of a run of share_bench.py: one SVG, written by hand. Standard library only."""

from xml.sax.saxutils import escape

import share_sides

WIDTH, MARGIN, LABELS, BAR, STEP = 1180, 24, 560, 12, 22
REACH = 2.0  # a bar that is longer is cut; its figure stands beside it
PASS, FAIL, INK, FAINT = "#2f7d5b", "#c0392b", "#222222", "#c9ccd1"
SIDES = (("inferd", "#2b62b3"), ("llama-server", "#d98324"), ("llama-batched-bench", "#8a8f98"))
PLOT_WIDTH, PLOT_HEIGHT = 760, 240


class Drawing:
    def __init__(self):
        self.parts = []

    def rectangle(self, x, y, width, height, fill):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>')

    def line(self, x1, y1, x2, y2, stroke=FAINT, dash=""):
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}"{dashes}/>')

    def text(self, x, y, text, size=12, anchor="start", fill=INK, weight="normal"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
            f'font-weight="{weight}">{escape(text)}</text>'
        )

    def write(self, path, height):
        with open(path, "w") as out:
            out.write(
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
                f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif">\n'
            )
            out.write(f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>\n')
            out.write("\n".join(self.parts) + "\n</svg>\n")


def share_of_target(row):
    """How much of what is allowed is used: up to 1 is a pass, whichever way the target points."""
    sense, limit = row["target"].split()
    value, limit = row["value"], float(limit)
    if sense == ">=":
        value, limit = limit, value
    if limit == 0:
        return 0.0 if value <= 0 else REACH
    return max(0.0, value / limit)


def write(path, facts, rows, decode_rounds):
    drawing = Drawing()
    top = MARGIN + 18
    drawing.text(MARGIN, top, "inferd against its targets", 18, weight="bold")
    about = f"{facts['date'][:10]}, commit {facts['commit']}, {facts['cpus']} CPUs of {facts['cpu']}"
    drawing.text(MARGIN, top + 20, about, 12, fill="#555555")
    bottom = draw_targets(drawing, rows, top + 48)
    if decode_rounds:
        bottom = draw_decode(drawing, decode_rounds, bottom + 50)
    drawing.write(path, bottom + MARGIN)


def draw_targets(drawing, rows, top):
    rows = [row for row in with_parents(rows) if "target" in row]
    left, right = MARGIN + LABELS, WIDTH - MARGIN - 150
    scale = (right - left) / REACH
    drawing.text(left, top, "value / target (target / value where more is better): shorter is better; cut at 2", 12)
    begin = top + 12
    for n, row in enumerate(rows):
        y = begin + n * STEP
        share, color = share_of_target(row), PASS if row["pass"] else FAIL
        drawing.text(left - 8, y + BAR + 1, row["what"], 11, "end")
        drawing.rectangle(left, y + 3, max(1.0, min(share, REACH) * scale), BAR, color)
        figure = (
            f"{row['value']:.4g} {row['unit']}".strip() + f"  ({row['target']})" + ("" if row["pass"] else "  FAIL")
        )
        drawing.text(left + max(1.0, min(share, REACH)) * scale + 6, y + BAR + 1, figure, 11, fill=color)
    end = begin + len(rows) * STEP
    drawing.line(left, begin, left, end)
    drawing.line(left + scale, begin - 4, left + scale, end, INK, "4 3")
    drawing.text(left + scale, end + 14, "target", 11, "middle")
    return end + 14


def with_parents(rows):
    """Rows whose name is indented belong to the last one that is not; alone they would not be understood."""
    parent = ""
    for row in rows:
        if row["what"].startswith(" "):
            yield {**row, "what": f"{parent}: {row['what'].strip()}"}
        else:
            parent = row["what"].partition(":")[0]
            yield row


def draw_decode(drawing, rounds, top):
    clients = list(rounds[0])
    figures = {k: share_sides.medians([rates[k] for rates in rounds]) for k in clients}
    bars = {
        k: {
            side: max((v for name, v in figures[k].items() if name.startswith(side)), default=None) for side, _ in SIDES
        }
        for k in clients
    }
    highest = max(value for held in bars.values() for value in held.values() if value)
    drawing.text(MARGIN, top, "Decode: tokens/s of all clients together (medians; of the peers the better kind)", 14)
    for n, (side, color) in enumerate(SIDES):
        drawing.rectangle(MARGIN + n * 180, top + 12, 12, 12, color)
        drawing.text(MARGIN + n * 180 + 18, top + 22, side)
    left, base = MARGIN + 40, top + 50 + PLOT_HEIGHT
    step = next(step for step in (10, 20, 50, 100, 200, 500, 1000, 1e9) if highest / step <= 6)
    for tick in range(int(highest // step) + 1):
        y = base - tick * step / highest * PLOT_HEIGHT
        drawing.line(left, y, left + PLOT_WIDTH, y)
        drawing.text(left - 6, y + 4, f"{tick * step:.0f}", 11, "end")
    group = PLOT_WIDTH / len(clients)
    width = group / (len(SIDES) + 1)
    for n, k in enumerate(clients):
        for at, (side, color) in enumerate(SIDES):
            value = bars[k][side]
            if value is None:
                continue
            x, height = left + n * group + (at + 0.5) * width, value / highest * PLOT_HEIGHT
            drawing.rectangle(x, base - height, width - 3, height, color)
            drawing.text(x + (width - 3) / 2, base - height - 4, f"{value:.0f}", 11, "middle")
        drawing.text(left + (n + 0.5) * group, base + 16, f"{k} client{'s' if k > 1 else ''}", 12, "middle")
    return base + 24
