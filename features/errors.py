"""What goes wrong with sound: one family of errors, each message one line that names the fix."""


class FeatureError(ValueError):
    """Sound or settings that cannot be turned into features."""


class AudioError(FeatureError):
    """A recording that cannot be read, or samples that are not sound."""
