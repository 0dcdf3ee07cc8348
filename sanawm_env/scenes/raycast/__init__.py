"""The ray caster: pictures and depth of procedural scenes."""
