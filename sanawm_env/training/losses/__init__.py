"""Flow matching on whole clips and on streamed chunks."""
