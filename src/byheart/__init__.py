"""byheart tells what a model, or a memory beside it, knows by heart."""
