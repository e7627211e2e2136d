"""Commands and tools of the model owner and the operator: teachers, calibration, packaging and keys."""
