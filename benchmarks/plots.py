"""The SVG pictures. matplotlib is asked for only when one is drawn (pip install '.[bench]')."""
import loops

COLOURS = {"asyncio": "#888888", "uvloop": "#4c72b0", "rloop": "#8172b3", "zuvloop": "#64b5cd", "rsloop": "#937860", "winloop": "#da8bc3",
           "aiofastnet": "#ccb974", "aiofastnet-uvloop": "#b09040", "pyasync-loop": "#e8a87c", "pyasync": "#c44e52", loops.FLOOR: "#222222"}


#: Where bars are cut off, which only a stalled loop's latencies reach.
MOST = 100


def pyplot():
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("pictures need matplotlib: pip install '.[bench]'") from None
    matplotlib.use("svg")
    # The same figures give the same file: no date, no random names in it; text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "pyasync", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
                                "axes.spines.right": False})
    from matplotlib import pyplot
    return pyplot


def save(figure, path):
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def bars(rows, columns, path, clock, title):
    """How many times faster than asyncio each column is, a group of bars a row; logarithmic, as ratios are."""
    plt = pyplot()
    rows = [row for row in rows if row.median("asyncio", clock)]
    shown = [c for c in columns if c != "asyncio" and any(row.median(c, clock) for row in rows)]
    if not rows or not shown:
        return
    height = 0.8 / len(shown)
    figure, axes = plt.subplots(figsize=(7.5, 0.6 + len(rows) * (0.14 + 0.11 * len(shown))))
    for i, column in enumerate(shown):
        ratios = [row.ratio(column, "asyncio", clock) for row in rows]
        where = [y + (i - (len(shown) - 1) / 2) * height for y, ratio in enumerate(ratios) if ratio]
        axes.barh(where, [ratio - 1 for ratio in ratios if ratio], height=height, left=1, label=column, color=COLOURS.get(column))
        if column in loops.OURS:
            for y, ratio in zip(where, (ratio for ratio in ratios if ratio)):
                axes.annotate(f" {ratio:.1f}", (min(ratio, MOST), y), fontsize=7, va="center", ha="left" if 1 <= ratio < MOST else "right")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}x" if value in (0.5, 2, 3, 5, 20, 30, 50) else "")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.set_xlim(right=min(axes.get_xlim()[1], MOST))
    axes.axvline(1, color=COLOURS["asyncio"], linewidth=1)
    axes.set_yticks(range(len(rows)), [row.case.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("times asyncio's speed" if clock == "wall" else "times asyncio's speed, in CPU time")
    axes.set_title(title, loc="left")
    figure.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 0))
    save(figure, path)
    plt.close(figure)


def scaling(curves, about, path):
    """A small picture for each curve: cost of an operation over size, both logarithmic."""
    plt = pyplot()
    across = min(3, len(curves))
    down = -(-len(curves) // across)
    figure, grid = plt.subplots(down, across, figsize=(3.2 * across, 2.6 * down), squeeze=False)
    for axes in grid.flat[len(curves):]:
        axes.remove()
    handles = {}
    for axes, (name, curve) in zip(grid.flat, curves.items()):
        operation, grows, law = about[name]
        for column, points in curve.items():
            handles[column], = axes.plot(*zip(*[(size, cost * 1e6) for size, cost in points]), marker=".", color=COLOURS.get(column), label=column)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{name} ({law})", fontsize=9, loc="left")
        axes.set_xlabel(grows, fontsize=7)
        axes.set_ylabel(f"µs a {operation}", fontsize=7)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
        if axes.get_ylim()[1] / axes.get_ylim()[0] < 10:        # or not one power of ten might be labelled
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        axes.tick_params(axis="y", which="minor", labelsize=6)
        axes.tick_params(labelsize=7)
    figure.legend(handles.values(), handles, frameon=False, ncols=len(handles), fontsize=8, loc="lower center", bbox_to_anchor=(0.5, -0.04))
    figure.tight_layout()
    save(figure, path)
    plt.close(figure)
