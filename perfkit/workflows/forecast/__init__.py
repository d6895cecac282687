"""Forecasts of capacity: from a ladder and from demand to what is reached first, and when."""
