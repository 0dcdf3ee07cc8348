"""One address over several replicas of a world: each a session server of its own, on a folder that all share."""
