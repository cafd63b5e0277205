"""Parts of `byheart.states.paging`."""
