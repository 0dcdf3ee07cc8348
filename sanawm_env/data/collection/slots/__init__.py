"""The slots that play items: what each item is played in, who sits there, and which are stepped together."""
