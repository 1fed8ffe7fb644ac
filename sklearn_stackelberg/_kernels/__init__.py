"""The parts of `kernels`."""
