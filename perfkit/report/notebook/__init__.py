"""What a notebook calls: headline figures, charts in its output, the versions that it read, sentences."""
