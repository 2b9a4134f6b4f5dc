"""How strongly training samples are changed: plain settings, without torch."""

from pydantic import Field

from hdmodel.settings import Settings


class AugmentationConfig(Settings):
    """What discriminators see of every photo, generated or real, is changed alike."""

    translation: float = Field(default=0.0, ge=0, le=0.5)
    """Photos and maps are moved by up to this share of height and width; 0.125 as published."""
    colour: float = Field(default=0.0, ge=0, le=1)
    """Strength of changes to brightness, saturation and contrast; 1 as published."""
    cutout: float = Field(default=0.0, ge=0, le=0.75)
    """A rectangle of this share of height and width is taken out; 0.5 as published."""

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        return bool(self.translation or self.colour or self.cutout)
