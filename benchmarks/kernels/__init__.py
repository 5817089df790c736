"""Speed of the kernels, one script an op, and what their compilers make of them without a GPU."""
