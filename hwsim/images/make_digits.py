"""Writes digits.npz, the embedded handwritten digits, from scikit-learn: `python -m hwsim.images.make_digits`.

1,797 images of 8x8 pixels, values 0..16 (UCI "Optical Recognition of Handwritten Digits", test part, E. Alpaydin and
C. Kaynak). Stored without compression, so that every zlib gives the same bytes.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np


def digits_npz() -> bytes:
    """The bytes of digits.npz: images uint8 N, H, W and labels uint8 N."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    file = io.BytesIO()
    np.savez(file, images=digits.images.astype(np.uint8), labels=digits.target.astype(np.uint8))
    return file.getvalue()


if __name__ == "__main__":
    Path(__file__).with_name("digits.npz").write_bytes(digits_npz())
