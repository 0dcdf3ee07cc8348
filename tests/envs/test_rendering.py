"""Displays that are named but cannot be used must not end the process."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gymnasium.error import DependencyNotInstalled

from sanawm_env.envs import rendering

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="X11 and Wayland")


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    rendering._refuses.cache_clear()
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[str]:
    """An X server's socket that hangs up on whoever calls; its display."""
    with socket.socket(socket.AF_UNIX) as listener:
        for number in range(4000, 4100):
            try:
                listener.bind(f"\0/tmp/.X11-unix/X{number}")
                break
            except OSError:
                continue
        listener.listen()

        def hang_up() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        yield f":{number}.0"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("display", [":3999", "unix:3999.0", "127.0.0.1:3999.0", "localhost:99999", "nonsense", ":"])
def test_stale_displays_are_refused_at_once(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("every environment asks: no child process"))
    assert "nobody answers" in (rendering.window_problem() or "")
    with pytest.raises(DependencyNotInstalled, match=r"nobody answers.*rgb_array"):
        rendering.Window("title", 16)


def test_no_display_at_all() -> None:
    assert "neither DISPLAY" in (rendering.window_problem() or "")


def test_a_display_that_hangs_up_is_found_out_in_a_child(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qt aborts there; this process must live on."""
    monkeypatch.setenv("DISPLAY", server)
    assert rendering.window_problem() is None
    with pytest.raises(DependencyNotInstalled, match="OpenCV cannot open one"):
        rendering.Window("title", 16)


def test_tried_once_where_it_works(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISPLAY", server)
    log = tmp_path / "tries"
    monkeypatch.setattr(rendering, "_TRY", f"open({str(log)!r}, 'a').write('x')")
    rendering.Window("title", 16)
    rendering.Window("title", 16)
    assert log.read_text() == "x"


def test_an_answer_that_does_not_come(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", server)
    monkeypatch.setattr(rendering, "_TRY", "import time; time.sleep(60)")
    monkeypatch.setattr(rendering, "_PATIENCE", 0.5)
    with pytest.raises(DependencyNotInstalled, match=r"no window within 0\.5 s"):
        rendering.Window("title", 16)


def test_wayland(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert "nobody answers at the display wayland-0" in (rendering.window_problem() or "")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "wayland-0"))
        listener.listen()
        assert rendering.window_problem() is None
