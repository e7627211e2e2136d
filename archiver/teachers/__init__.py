"""Training of the teacher ensemble."""
