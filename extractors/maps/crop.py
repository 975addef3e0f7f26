"""The fixed crop of a picture: what its latent is made of."""

SIZE_MULTIPLE = 64
"""Pixels: the sides of ingested pictures, and of the crops that adapters are trained on, are multiples of this."""
STRIDE = 8
"""Pixels per side of a latent's cell: no crop is smaller."""

Window = tuple[slice, slice]


def fixed_side(height: int, width: int) -> int:
    """The short side, cut to a multiple of 64, below that to one of 8; 8 for a picture that is smaller."""
    short = min(height, width)
    cell = SIZE_MULTIPLE if short >= SIZE_MULTIPLE else STRIDE
    return max(short // cell * cell, STRIDE)


def fixed_crop(height: int, width: int) -> Window:
    """Rows and columns of the square of `fixed_side` in the picture's middle, as far as there is a picture."""
    side = fixed_side(height, width)

    def middle(length: int) -> slice:
        first = max(0, (length - side) // 2)
        return slice(first, min(length, first + side))

    return middle(height), middle(width)
