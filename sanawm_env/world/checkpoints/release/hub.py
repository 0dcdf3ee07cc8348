"""Releases from the Hugging Face Hub: one pinned commit, only the files that are needed, resumed when cut off.

Connections that break are taken up where they broke, within one call. A later call keeps the files that are
whole; parts of files are kept by huggingface_hub up to 1.x and thrown away by 2.x.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sanawm_env.world.checkpoints.presets import RELEASES, TEXT_ENCODER, VAE_REPO
from sanawm_env.world.checkpoints.release.files import CAUSAL_VAE, PATTERNS

__all__ = ["fetch", "fetch_causal_vae", "fetch_text_encoder", "is_repo_id", "revision_of"]

_REPO = re.compile(r"(?:hf://)?([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")


def is_repo_id(name: str) -> bool:
    """Whether a name has the form `organisation/name` or `organisation/name@revision`."""
    return _REPO.fullmatch(name) is not None


def fetch(name: str, patterns: Sequence[str] = PATTERNS) -> Path:
    """Bring a repository's files into the Hub's cache, unless they are there.

    With `HF_HUB_OFFLINE=1`, or when the Hub cannot be reached, the cache alone
    decides. Where the cache lies, tokens and mirrors are huggingface_hub's settings (`HF_HOME`, ...).

    Args:
        name: `organisation/name`, or with `@` and a branch, a tag or a commit. Without a revision the commit of
            `RELEASES` is taken, and `main` for other repositories.
        patterns: The files wanted.

    Returns:
        The snapshot's folder, whose name is the commit.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: Not the name of a repository.
        FileNotFoundError: No such repository or revision, or not in the cache while offline.
        PermissionError: The repository wants an account that may read it.
        ConnectionError: The Hub cannot be reached, or the download was cut off.
    """
    match = _REPO.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no repository; write organisation/name or organisation/name@revision.")
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise ImportError(
            f'downloading {match[1]} needs huggingface_hub: pip install "sanawm_env[release]"{_no_folder(match[1])}'
        ) from error
    repo, wanted = match[1], match[2]
    known = RELEASES.get(repo)
    revision = wanted or (known.revision if known else "main")
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
    except errors.RevisionNotFoundError:
        raise FileNotFoundError(
            f"{repo} has no revision {revision!r}; take {repo}@main, or a commit from its page on the Hub."
        ) from None
    except errors.GatedRepoError:
        raise PermissionError(
            f"{repo} wants its terms accepted; do so on its page on the Hub, then run: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise FileNotFoundError(
            f"there is no folder {name!r}, and the Hub shows no repository {repo!r} to this account; "
            "check the name, or for a private one run: hf auth login"
        ) from None
    except errors.LocalEntryNotFoundError as error:
        raise _absent(repo, revision, error) from None
    except Exception as error:
        # Connections break in as many classes as there are libraries below (requests, httpx, xet).
        raise ConnectionError(
            f"the download of {repo} stopped ({_reason(error)}); run it again, files that are whole are kept."
        ) from error


def fetch_causal_vae() -> Path:
    """The folder of the streaming release's VAE, as `fetch`: the only published one whose decoder is causal."""
    return fetch(VAE_REPO, [f"{CAUSAL_VAE}/*.json", f"{CAUSAL_VAE}/*.safetensors"]) / CAUSAL_VAE


def fetch_text_encoder() -> Path:
    """The folder of stage 1's text encoder with its tokenizer (`TEXT_ENCODER`, 5.2 GB), as `fetch`."""
    return fetch(TEXT_ENCODER, ["*.json", "*.safetensors", "tokenizer.model"])


def revision_of(folder: Path) -> str | None:
    """Where a folder came from, as `organisation/name@commit`, if the Hub's tools left a trace of it.

    Known are snapshots in the Hub's cache, and folders made by `hf download --local-dir` (the commit alone).
    """
    folder = folder.absolute()
    commit = re.compile(r"[0-9a-f]{40}")
    if folder.parent.name == "snapshots" and commit.fullmatch(folder.name):
        parts = folder.parent.parent.name.split("--")
        if parts[0] == "models" and len(parts) > 2:
            return f"{'/'.join(parts[1:])}@{folder.name}"
    commits = set()
    for note in (folder / ".cache" / "huggingface" / "download").rglob("*.metadata"):
        line = note.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
        commits.add(line if commit.fullmatch(line) else "")
    # Files of two commits make a folder of neither.
    return f"{folder.name}@{commits.pop()}" if len(commits) == 1 and "" not in commits else None


def _absent(repo: str, revision: str, error: Exception) -> OSError:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return FileNotFoundError(
            f"{repo} at {revision!r} is not whole in the Hub's cache ({constants.HF_HUB_CACHE}) and HF_HUB_OFFLINE is "
            f"set; download it where there is a network, or unset HF_HUB_OFFLINE.{_no_folder(repo)}"
        )
    cause = error.__cause__ or error
    return ConnectionError(
        f"{repo} at {revision!r} is not whole in the Hub's cache and the Hub cannot be reached ({_reason(cause)}); "
        f"connect, or give a local folder.{_no_folder(repo)}"
    )


def _no_folder(repo: str) -> str:
    """What else the name of a repository that is none of ours may have been meant to be."""
    known = repo in RELEASES or repo == TEXT_ENCODER
    return "" if known else f" If a folder was meant: there is no {repo!r} in {Path.cwd()}."


def _reason(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"[:200].rstrip(". :")
