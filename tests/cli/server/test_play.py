import re
import subprocess
import sys
import urllib.request
import webbrowser

import pytest

from sanawm_env.cli import main
from sanawm_env.cli.server.play import opened
from sanawm_env.server.web.listening import listen

URL = "http://127.0.0.1:1/?token=abc"


def test_a_port_in_use(capsys):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            main(["play", "--port", str(port)])
    assert f"127.0.0.1:{port} cannot be had" in capsys.readouterr().err


def test_the_page_is_served_and_asked_for(tmp_path):
    """Without a token there is the page, but no session; its files come with the package."""
    command = [sys.executable, "-m", "sanawm_env.cli", "play", "--checkpoint", "tiny", "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        base = re.match(r"http://127\.0\.0\.1:\d+/", process.stdout.readline()).group()
        with urllib.request.urlopen(base, timeout=60) as page:
            text, policy = page.read().decode(), page.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert not re.search(
            r"<script(?![^>]*src=)|\son\w+=|\sstyle=|//[^/\"' ]+\.[a-z]{2,}/", text
        )  # CSP, no other host
        seen, wanted = set(), {name.removeprefix("/static/") for name in re.findall(r"/static/[\w/.]+", text)}
        while wanted:
            name = wanted.pop()
            seen.add(name)
            with urllib.request.urlopen(f"{base}static/{name}", timeout=60) as file:
                assert file.headers["Cache-Control"] == "no-cache"
                body = file.read().decode()
            folder = name.rpartition("/")[0]
            for other in re.findall(r'from "(\.[^"]+)"', body):
                parts = [*folder.split("/"), *other.split("/")] if folder else other.split("/")
                clean = []
                for part in parts:
                    clean = clean[:-1] if part == ".." else clean if part == "." else [*clean, part]
                wanted |= {"/".join(clean)} - seen
        assert len(seen) > 10
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}static/..%2f..%2fprotocol.py", timeout=60)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{base}api/world", timeout=60)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_no_browser(monkeypatch):
    def none(using=None):
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "get", none)
    assert not opened(URL)
    monkeypatch.setattr(webbrowser, "get", lambda using=None: webbrowser.GenericBrowser("lynx"))
    assert not opened(URL)  # it would take the terminal
    asked = []

    class Found(webbrowser.BackgroundBrowser):
        def open(self, url, new=0, autoraise=True):
            asked.append(url)
            return True

    monkeypatch.setattr(webbrowser, "get", lambda using=None: Found("browser"))
    assert opened(URL) and asked == [URL]
