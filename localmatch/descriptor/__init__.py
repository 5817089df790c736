"""The descriptor: the network, its weights, its training, and encoding an image with it."""
