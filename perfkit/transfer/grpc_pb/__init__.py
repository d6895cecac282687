"""Generated from transfer.proto; regenerate with `make proto`."""
