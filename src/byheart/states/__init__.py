"""Memory in activations and caches."""
