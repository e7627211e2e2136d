"""The score by the length of the victim's features."""

from calpow.handler.leakage.score import ODDEST, Array, SampleBatch, VictimOutput, required


class FeatureNorm:
    """Cost of a query: the Euclidean length of the victim's last features.

    Networks often give short features to inputs unlike their training data, and sometimes long ones: a policy reads
    this score from both sides.
    """

    needs = VictimOutput.FEATURES
    highest = ODDEST

    def costs(self, batch: SampleBatch) -> Array:
        """Return the lengths of the samples' features."""
        return required(batch.lengths, "features")
