"""The site of reports: a page per notebook and run, and the index of all runs. Static files, no network."""
