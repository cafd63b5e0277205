"""Memory in parameters: what puts texts into a model's weights, and takes them out again."""

from byheart.weights.planting import Planted, Training, plant

__all__ = ["Planted", "Training", "plant"]
