"""perfkit: transfer."""
