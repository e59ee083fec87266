"""The compiled half of the codec: varints, rows and frames as numba kernels."""
