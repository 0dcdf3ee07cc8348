"""`sanawm collect --refine`: the second queue, which refines episodes that are kept."""
