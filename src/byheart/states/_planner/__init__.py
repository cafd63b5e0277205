"""Parts of `byheart.states.planner`."""
