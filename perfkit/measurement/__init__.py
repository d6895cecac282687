"""Transfer on purpose: scenarios, sweeps, launches, and what their observations say."""
