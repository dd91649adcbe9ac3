"""An image file -> pixels, by Pillow, with a limit on its size and one sentence for what is damaged."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from hwsim.errors import InputError
from hwsim.network.preprocessing import ChannelOrder, Preprocessing

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened: formats without programs in them."""

FREE_PIXELS, PIXELS_PER_BYTE, MAX_PIXELS = 1 << 24, 32, 1 << 26
"""An image may have FREE_PIXELS (4096 x 4096), or PIXELS_PER_BYTE of its file up to MAX_PIXELS; a pixel takes 4 to 10 bytes.

A photograph has less than 10 pixels for a byte of its file; thousands are a few lines that would fill the memory.
"""


def read_image(path: Path, gray: bool, where: str) -> np.ndarray:
    """Pixels as uint8 of shape H, W (gray) or H, W, 3 (RGB). where: what the error names, a file or a line of a list."""
    if not path.is_file():
        raise InputError(f"{where}: the image {path} does not exist; correct the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own warning about large images; the limit below decides
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                allowed = min(max(FREE_PIXELS, PIXELS_PER_BYTE * path.stat().st_size), MAX_PIXELS)
                if width * height > allowed:
                    raise InputError(f"{where}: {path} claims {width}x{height} pixels; at most {allowed:,} are read of it.")
                mode = "L" if gray else "RGB"
                return np.asarray(image if image.mode == mode else image.convert(mode))
    except InputError:
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise almost anything
        reason = str(error).splitlines()[0].rstrip(".")[:100] if str(error) else type(error).__name__
        raise InputError(f"{where}: {path} cannot be decoded ({reason}); give a sound image ({', '.join(FORMATS)}).") from None


def fit(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 H, W or H, W, 3 (RGB) -> uint8 C, H, W in the network's channel order and size.

    With crop, an image at least as large as the network's size is cropped around its centre, as Caffe does in phase TEST;
    any other image of another size is resized (bilinear, the aspect ratio not kept).
    """
    gray = preprocessing.channel_order is ChannelOrder.GRAY
    if gray and pixels.ndim == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    height, width = preprocessing.size
    if pixels.shape[:2] != (height, width):
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        if preprocessing.crop and top >= 0 and left >= 0:
            pixels = pixels[top : top + height, left : left + width]
        else:
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    if gray:
        return np.ascontiguousarray(pixels[None])
    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    if preprocessing.channel_order is ChannelOrder.BGR:
        colour = colour[:, :, ::-1]
    return np.ascontiguousarray(colour.transpose(2, 0, 1))
