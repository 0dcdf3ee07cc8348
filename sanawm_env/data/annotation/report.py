"""The page of an annotation: each clip's verdict, its path from above, and pictures of what its points say."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.opencv import cv2
from sanawm_env.data.annotation.structure.solve import Solution
from sanawm_env.data.annotation.structure.tracks import Tracks
from sanawm_env.files import write_text
from sanawm_env.scenes.posed_clips import PosedClip

__all__ = ["write_pictures", "write_report"]

Array = NDArray[np.float64]

_SHOWN_ERROR = 8.0
"""Reprojection errors are drawn so many times as long as they are."""
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #15803d; --bad: #b91c1c; --path: #0d9488; }
@media (prefers-color-scheme: dark) { :root { --good: #4ade80; --bad: #f87171; --path: #2dd4bf; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
article { border-top: 1px solid var(--line); padding: 1rem 0; }
h2 { margin: 0; font-size: 1.1rem; overflow-wrap: anywhere; }
.accepted { color: var(--good); } .refused { color: var(--bad); }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem; align-items: flex-start; }
figure { margin: .5rem 0; } img, svg { height: 13rem; max-width: 100%; border: 1px solid var(--line); }
figcaption, summary, .source { font-size: .85rem; opacity: .75; overflow-wrap: anywhere; }
td { padding: 0 1rem 0 0; font-size: .85rem; }
"""


def write_pictures(folder: Path, name: str, tracks: Tracks, solution: Solution) -> None:
    """Write `NAME-points.jpg` and, where points were mapped, `NAME-depth.jpg`: the clip's middle keyframe.

    Args:
        folder: Of the report.
        name: Of the clip.
        tracks: Of the clip.
        solution: Of the clip.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = solution.keys
    middle = len(keys) // 2
    image = cv2.imdecode(np.asarray(tracks.keep[keys[middle] if keys else len(tracks) // 2]), cv2.IMREAD_COLOR)
    if image is None:
        return
    points = np.array(image, np.uint8)
    model = solution.model
    if model is None:
        for x, y in tracks.points[len(tracks) // 2]:
            cv2.circle(points, (round(x - 0.5), round(y - 0.5)), 2, (80, 220, 80), -1, cv2.LINE_AA)
    elif model.placed[middle]:
        rows, seen = model.seen[middle]
        c2w = model.c2w[middle]
        local = (model.points[rows] - c2w[:3, 3]) @ c2w[:3, :3]
        should = local[:, :2] / local[:, 2:] * model.intrinsics[:2] + model.intrinsics[2:]
        for at, off in zip(seen - 0.5, (should - seen) * _SHOWN_ERROR, strict=True):
            end = np.clip(at + off, -1000, 10000)
            cv2.line(points, _pixel(at), _pixel(end), (60, 60, 255), 1, cv2.LINE_AA)
            cv2.circle(points, _pixel(at), 2, (80, 220, 80), -1, cv2.LINE_AA)
        depth = np.asarray(image) // 3
        ranks = local[:, 2].argsort().argsort() / max(len(rows) - 1, 1)
        shades = (255 * (1 - ranks)).astype(np.uint8)[:, None]
        colours = cv2.applyColorMap(shades, cv2.COLORMAP_TURBO)[:, 0].tolist()
        for at, colour in zip(seen - 0.5, colours, strict=True):
            cv2.circle(depth, _pixel(at), 3, colour, -1, cv2.LINE_AA)
        cv2.imwrite(str(folder / f"{name}-depth.jpg"), depth)
    cv2.imwrite(str(folder / f"{name}-points.jpg"), points)


def write_report(ds: Path, clips: Sequence[PosedClip]) -> Path:
    """Write `ds/report/index.html` on all clips; returns its path."""
    page = ds / "report" / "index.html"
    accepted = sum(clip.verdict == "accepted" for clip in clips)
    articles = "\n".join(_article(page.parent, clip) for clip in clips)
    write_text(
        page,
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(ds.name)}: {accepted} of {len(clips)} clips accepted</title><style>{_STYLE}</style>
<h1>{accepted} of {len(clips)} clips accepted</h1>
{articles}
</html>
""",
    )
    return page


def _article(folder: Path, clip: PosedClip) -> str:
    scale = clip.figures.get("scale")
    unit = "metres" if clip.metric else "unit unknown"
    facts = [f"{len(clip) or clip.figures.get('frames', 0)} frames", f"{clip.width}x{clip.height}"]
    if len(clip):
        facts += [clip.figures.get("motion", ""), unit]
    if scale:
        facts.append(f"{scale['metres_per_unit']:.3g} m per unit, +/- {scale['share']:.0%}, from {scale['source']}")
    pictures = [_path(clip)] if len(clip) else []
    for kind, says in (
        ("points", f"points, and {_SHOWN_ERROR:.0f} times the way to where they should be"),
        ("depth", "depth of the points, red is near"),
    ):
        if (folder / f"{clip.name}-{kind}.jpg").is_file():
            image = f'<img loading="lazy" src="{html.escape(clip.name)}-{kind}.jpg" alt="{says}">'
            pictures.append(f"<figure>{image}<figcaption>{says}</figcaption></figure>")
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in [*clip.reasons, *clip.figures.get("notes", [])])
    rows = "".join(
        f"<tr><td>{html.escape(name)}<td>{html.escape(json.dumps(value))}" for name, value in clip.figures.items()
    )
    return f"""<article><h2>{html.escape(clip.name)}: <span class="{clip.verdict}">{clip.verdict}</span></h2>
<div class="source">{html.escape(clip.source)} · {html.escape(" · ".join(each for each in facts if each))}</div>
<ul>{reasons}</ul><div class="pictures">{"".join(pictures)}</div>
<details><summary>all figures</summary><table>{rows}</table></details></article>"""


def _path(clip: PosedClip) -> str:
    """The path from above, right and ahead of the first camera, with its headings."""
    places = clip.c2w[:, [0, 2], 3] * [1, -1]
    centre, reach = (places.max(0) + places.min(0)) / 2, max(float(np.ptp(places, axis=0).max()), 1e-9)
    at = (places - centre) / reach * 80 + 50
    ahead = clip.c2w[:, [0, 2], 2] * [1, -1]
    line = " ".join(f"{x:.2f},{y:.2f}" for x, y in at)
    ticks = "".join(
        f'<line x1="{x:.2f}" y1="{y:.2f}" x2="{x + 5 * dx:.2f}" y2="{y + 5 * dy:.2f}"/>'
        for (x, y), (dx, dy) in list(zip(at, ahead, strict=True))[:: max(len(at) // 16, 1)]
    )
    size = f"{reach:.2f} m" if clip.metric else f"{reach:.3g} units"
    return f"""<figure>
<svg viewBox="0 0 100 100" role="img" aria-label="path from above" fill="none" stroke="var(--path)">
<polyline points="{line}" stroke-width="1"/><g stroke-width=".5" opacity=".6">{ticks}</g>
<circle cx="{at[0, 0]:.2f}" cy="{at[0, 1]:.2f}" r="2" fill="var(--path)"/></svg>
<figcaption>path from above, {size} across; it begins at the dot</figcaption></figure>"""


def _pixel(at: Array) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))
