"""`sanawm data push`: a dataset on the Hugging Face Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

__all__ = ["Push"]


@dataclass
class Push:
    """Upload a dataset to the Hugging Face Hub; a faulty one is not."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """Folder of any known format."""
    repo: str
    """owner/name on the Hub; made if it is not there."""
    private: bool = False
    """Whether a repository that is made is private."""
    message: str = "Upload by sanawm_env"
    """Of the commit."""

    def run(self) -> None:
        """Check it, upload it, and print its address."""
        from sanawm_env.data.formats import detect

        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo, re.ASCII):
            raise ValueError(f"--repo must be owner/name in plain letters; got {self.repo!r}.")
        if not self.dataset.is_dir():
            raise FileNotFoundError(f"no folder {self.dataset}; check the path.")
        found = detect(self.dataset)
        faults = [problem for problem in found.load().check(self.dataset) if problem.fatal]
        if faults:
            raise ValueError(
                f"{self.dataset} has {len(faults)} faults, first {faults[0].where}: {faults[0].what} See all with "
                "'sanawm data check', and mend them before others get it."
            )
        try:
            import huggingface_hub as hub
            from huggingface_hub.errors import HfHubHTTPError
        except ModuleNotFoundError:
            raise ValueError("uploading needs huggingface_hub: pip install huggingface-hub.") from None
        token = hub.get_token()
        if not token:
            raise ValueError("no login at the Hugging Face Hub: run 'hf auth login', or set HF_TOKEN.")
        api = hub.HfApi(token=token)
        try:
            api.create_repo(self.repo, repo_type="dataset", private=self.private, exist_ok=True)
            done = api.upload_folder(
                repo_id=self.repo,
                folder_path=self.dataset,
                repo_type="dataset",
                commit_message=self.message,
                ignore_patterns=[".*", "**/.*"],  # unfinished files
            )
        except HfHubHTTPError as error:
            raise ValueError(
                f"the Hub refused {self.repo}: {error}. Is the owner right, and may the token write?"
            ) from error
        print(getattr(done, "commit_url", None) or f"https://huggingface.co/datasets/{self.repo}")
