"""Thermocline: tiered storage, cache and delivery for content platforms."""
