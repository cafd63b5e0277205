"""Generators and series that two or more rooms use."""
