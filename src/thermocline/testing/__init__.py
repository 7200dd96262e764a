"""Shipped test tools: contract suites for every port, a manual clock, fault injection, strategies."""
