"""Option types that commands share."""

import re

import click


class SizeType(click.ParamType):  # type: ignore[type-arg] # generic only in new releases
    """An image size `HxW` in pixels, as a tuple of height and width."""

    name = "HxW"

    def convert(
        self,
        value: str | tuple[int, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, int]:
        """Height and width of a text such as `256x512`."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", value.strip())
        if not match:
            self.fail(
                f"{value!r} is not a size; expected height x width in pixels, such as 256x512",
                param,
                ctx,
            )
        return int(match[1]), int(match[2])


SIZE = SizeType()
