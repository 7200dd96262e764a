"""Pure rules: no I/O, no clock, no await, no logging. Everything here can be tested by calling it."""
