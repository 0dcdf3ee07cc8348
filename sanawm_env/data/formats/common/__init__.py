"""What several formats share: the steps of an episode as JSON, pictures as files, and one folder for each episode."""
