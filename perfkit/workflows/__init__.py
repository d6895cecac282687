"""perfkit: workflows."""
