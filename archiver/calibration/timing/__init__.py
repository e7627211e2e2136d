"""Times that a calibration measures: of the victim, of the gate in front of it, and of the reference client."""
