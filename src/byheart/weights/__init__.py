"""Memory in parameters."""

from byheart.weights.planting import PlantedModel, plant

__all__ = ["PlantedModel", "plant"]
