"""perfkit: stats."""
