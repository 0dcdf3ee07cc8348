"""Frames per second and latency in the page of `sanawm play`, in a real browser: one JSON line.

    python benchmarks/speed/play_page.py --seconds 20 --out play.json

`fps_p50` and `fps_p5` are of the seconds in which a key was held, `key_to_frame_ms` runs from the event of a key to the
first frame that obeys it, drawn. Each key is pressed for the first time after a rest as well as while time runs.
`rewind_same_pixels` compares the canvas of then and of now, `trunk_same` the snapshots' pictures before and after a
branch. Needs Chromium and `pip install playwright`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@dataclass
class Options:
    """What to measure."""

    checkpoint: str = "tiny"
    seconds: float = 20.0
    """World time to walk."""
    presses: int = 30
    """Keys pressed while time runs."""
    out: Path | None = None


def main(options: Options) -> None:
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "sanawm_env.cli", "play", "--checkpoint", options.checkpoint, "--port", "0"]
    with subprocess.Popen([*command, "--no-browser"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        try:
            if found is None:
                raise RuntimeError("the server did not start; its own words are above.")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=os.environ.get("SANAWM_CHROMIUM") or shutil.which("chromium"), args=list(FLAGS)
                )
                page = browser.new_page(viewport={"width": 1400, "height": 850})
                page.set_default_timeout(120_000)
                page.goto(found.group())
                line = measure(page, options) | {"browser": browser.version}
                browser.close()
        finally:
            server.terminate()
    text = json.dumps(line)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


def measure(page: Any, options: Options) -> dict[str, Any]:
    """Walk, rewind, branch."""
    page.wait_for_selector("#gallery img[src]")
    until(page, "document.getElementById('warming').hidden")
    page.click('[data-seed="3"]')
    page.wait_for_selector("body[data-page=walk]")
    now = "sanawm.session.time"
    canvas = "document.querySelector('#view').toDataURL()"

    page.keyboard.down("w")
    until(page, f"{now} >= 2")
    restarted = page.evaluate("sanawm.view.latencies.splice(0)")
    page.keyboard.up("w")
    rest(page)
    then, place = page.evaluate(canvas), page.evaluate("sanawm.session.present")

    page.keyboard.down("w")
    page.wait_for_timeout(1500)
    rates = []
    while page.evaluate(now) < 2 + options.seconds:
        page.wait_for_timeout(500)
        rates.append(page.evaluate("sanawm.view.fps()"))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    page.evaluate("sanawm.view.latencies.length = 0")
    rng = np.random.default_rng(0)
    for k in range(options.presses):
        page.wait_for_timeout(float(rng.uniform(600, 900)))
        (page.keyboard.down if k % 2 == 0 else page.keyboard.up)("ArrowLeft")
    page.wait_for_timeout(1500)
    latencies = page.evaluate("sanawm.view.latencies")
    speed = re.search(r"([\d.]+)× real time", page.locator("#numbers").inner_text())
    page.keyboard.up("ArrowLeft")
    page.keyboard.up("w")
    rest(page)

    trunk = pictures(page)
    page.evaluate("id => sanawm.session.goTo(sanawm.session.nodes.get(id))", place)
    rest(page)
    again = page.evaluate(canvas)
    page.keyboard.down("a")
    until(page, f"{now} >= 5")
    page.keyboard.up("a")
    rest(page)
    after = pictures(page)
    return {
        "checkpoint": options.checkpoint,
        "fps_p50": float(np.median(rates)),
        "fps_p5": float(np.percentile(rates, 5)),
        "key_to_frame_ms": {f"p{q}": round(float(np.percentile(latencies, q)), 1) for q in (50, 95)},
        "key_to_frame_after_rest_ms": round(restarted[0], 1) if restarted else None,
        "presses": len(latencies),
        "real_time": float(speed.group(1)) if speed else None,
        "rewind_same_pixels": then == again,
        "trunk_same": all(after[name] == trunk[name] for name in trunk),
        "snapshots": len(after),
        "cpus": os.cpu_count(),
        "load": load,
        "machine": platform.machine(),
    }


def rest(page: Any) -> None:
    """Let time stand still, and wait until it does."""
    page.evaluate("sanawm.session.pause()")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def until(page: Any, expression: str) -> None:
    """Wait for an expression; the page's own waiting needs `unsafe-eval`, which the page forbids."""
    while not page.evaluate(expression):
        page.wait_for_timeout(20)


def pictures(page: Any) -> dict[str, str]:
    """The last frame of every snapshot, from the server."""
    found: dict[str, str] = page.evaluate(
        """async () => {
            const found = {};
            for (const snapshot of sanawm.session.nodes.keys()) {
                found[snapshot] = (await sanawm.session.ask("view", { snapshot })).payload.join();
            }
            return found;
        }"""
    )
    return found


if __name__ == "__main__":
    main(tyro.cli(Options, description=(__doc__ or "").splitlines()[0]))
