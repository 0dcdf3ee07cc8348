"""Work lists carried out by one process, or by many through Ray."""
