"""Which episodes of a dataset: by name, by what a reviewer decided, by checkpoint, and in parts."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sanawm_env.data.episode import Episode
from sanawm_env.data.review import read_decisions

__all__ = ["checkpoints_of", "dropped_names", "one_checkpoint", "select", "split"]


def select(episodes: Sequence[Episode], wanted: Iterable[str]) -> list[Episode]:
    """Episodes by name, number or range of numbers (`5-9`), in the dataset's order; all if nothing is wanted.

    A number stands for the episode whose name is that number (12 for 000012), and where names are no numbers, for the
    place in the dataset, from 0.

    Raises:
        ValueError: There is no such episode.
    """
    wanted = list(wanted)
    if not wanted:
        return list(episodes)
    numbers = {int(each.name): place for place, each in enumerate(episodes) if re.fullmatch(r"\d+", each.name)}
    if len(numbers) < len(episodes):
        numbers = dict(zip(range(len(episodes)), range(len(episodes)), strict=True))
    names = {each.name: place for place, each in enumerate(episodes)}
    chosen: set[int] = set()
    for word in wanted:
        span = re.fullmatch(r"(\d+)-(\d+)", word)
        if word in names:
            places = [names[word]]
        elif span:
            low, high = int(span[1]), int(span[2])
            places = [place for number, place in numbers.items() if low <= number <= high]
        else:
            places = [numbers[int(word)]] if re.fullmatch(r"\d+", word) and int(word) in numbers else []
        if not places:
            known = f"{min(numbers)} to {max(numbers)}" if numbers else "none"
            raise ValueError(
                f"no episode {word!r}; give names, or numbers ({known} are there), or a range such as 5-9."
            )
        chosen.update(places)
    return [episodes[place] for place in sorted(chosen)]


def dropped_names(path: Path) -> set[str]:
    """Names of the episodes that a reviewer dropped; empty where nobody reviewed.

    Raises:
        ValueError: The file of decisions is damaged.
    """
    return {_name(path, key) for key, each in read_decisions(path).items() if each.decision == "drop"}


def _name(path: Path, key: str) -> str:
    """The name of the episode that a reviewer saw under `key`, the number of its item in a dataset of ours.

    In a part of a dataset, or a conversion, episodes keep their names and have new numbers.
    """
    file = path / "sanawm" / "episodes" / f"{key}.json"
    if not re.fullmatch(r"\d+", key) or not file.is_file():
        return key
    values = json.loads(file.read_text(encoding="utf-8"))
    return str((values.get("episode") or {}).get("name") or key)


def checkpoints_of(episodes: Iterable[Episode]) -> dict[str, str]:
    """Hash to name of the checkpoints that made the episodes; those that came from elsewhere have none."""
    recipes = [episode.recipe for episode in episodes if episode.recipe]
    return {
        str(each["checkpoint_hash"]): str(each.get("checkpoint", "")) for each in recipes if "checkpoint_hash" in each
    }


def one_checkpoint(episodes: Iterable[Episode]) -> None:
    """Refuse episodes of several worlds in one dataset.

    Raises:
        ValueError: There are several.
    """
    found = checkpoints_of(episodes)
    if len(found) > 1:
        shown = ", ".join(f"{name or 'unknown'} ({key[:12]})" for key, name in sorted(found.items()))
        raise ValueError(f"the episodes come from {len(found)} checkpoints: {shown}; say --mixed to put them together.")


def split(episodes: Sequence[Episode], fractions: Sequence[float]) -> Iterator[list[Episode]]:
    """Parts of a dataset by whole episodes; the same episodes always fall into the same parts.

    The order is that of a hash of each episode's frames (of its name, without a recipe), so that neither the order in
    the dataset nor who collected it matters.

    Args:
        episodes: All of them.
        fractions: Share of each part; together 1.

    Yields:
        Each part, in the dataset's order; never empty.

    Raises:
        ValueError: Shares that do not make a whole, or fewer episodes than parts.
    """
    if any(not share > 0 for share in fractions) or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise ValueError(f"fractions must be positive and make 1 together; got {' '.join(map(str, fractions))}.")
    if len(episodes) < len(fractions):
        raise ValueError(f"{len(episodes)} episodes do not make {len(fractions)} parts; collect more, or take fewer.")
    order = sorted(range(len(episodes)), key=lambda place: (_key(episodes[place]), place))
    begin, total = 0, 0.0
    for part, share in enumerate(fractions):
        total += share
        rest = len(fractions) - part - 1
        end = min(max(round(total * len(order)), begin + 1), len(order) - rest)
        yield [episodes[place] for place in sorted(order[begin:end])]
        begin = end


def _key(episode: Episode) -> str:
    source = (episode.recipe or {}).get("frames_sha256") or episode.name
    return hashlib.sha256(str(source).encode()).hexdigest()
