"""Predictors of what is read next."""
