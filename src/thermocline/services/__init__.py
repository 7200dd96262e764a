"""What Thermocline does, over ports only. Multi-step services open with their protocol."""
