"""Prometheus texts of several replicas as one."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["add_label", "family", "merged"]


def merged(texts: Mapping[str, str], label: str = "replica") -> str:
    """One text, in which each sample has the name of its replica.

    Args:
        texts: By replica.
        label: What the name is called.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for name, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                family = line.split(" ")[2]
                if line not in heads.setdefault(family, []):
                    heads[family].append(line)
            elif line:
                samples.setdefault(family, []).append(add_label(line, label, name))
    lines = [line for family, head in heads.items() for line in (*head, *samples.get(family, ()))]
    return "".join(f"{line}\n" for line in lines)


def add_label(sample: str, label: str, value: str) -> str:
    """A sample with one label more.

    `steps_total 3` becomes `steps_total{replica="0"} 3`.
    """
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{{label}="{value}",{rest}'
    name, _, number = sample.partition(" ")
    return f'{name}{{{label}="{value}"}} {number}'


def family(name: str, kind: str, text: str, values: Mapping[str, float]) -> str:
    """One metric with its samples, by their labels as text."""
    lines = [f"# HELP sanawm_{name} {text}", f"# TYPE sanawm_{name} {kind}"]
    lines += [f"sanawm_{name}{labels} {value:.9g}" for labels, value in values.items()]
    return "".join(f"{line}\n" for line in lines)
