"""What the commands share: words for the user, files that must not be overwritten, names of policies and tasks."""
