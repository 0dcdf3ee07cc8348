"""Sessions that step by themselves, in time, and who watches them."""
