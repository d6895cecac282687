"""Cost models: what curves leave unexplained, learned from traffic, with intervals for single transfers."""
