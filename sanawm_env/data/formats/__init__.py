"""The field's dataset formats, behind one registry: `detect`, `read`, `write`."""

from sanawm_env.data.formats.registry import FORMATS, Format, Mode, detect, get_format

__all__ = ["FORMATS", "Format", "Mode", "detect", "get_format"]
