"""`sanawm collect`: the work list, the slots that play it, and what is kept."""
