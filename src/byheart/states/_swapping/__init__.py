"""Parts of `byheart.states.swapping`."""
