"""The life of an experiment: planned, sized, watched, concluded, promoted or rolled back, archived."""
