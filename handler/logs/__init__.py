"""Lines that workers write: logs that repeat little, and files that all of them append to."""
