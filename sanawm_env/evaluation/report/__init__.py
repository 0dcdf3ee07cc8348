"""From results to a summary, plots and the page of a report."""
