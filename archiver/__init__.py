"""What the model owner and the operator run: teachers, calibration, packaging and keys."""
