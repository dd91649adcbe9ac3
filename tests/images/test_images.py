"""Every kind of DATA gives the pixels that were put in; what is damaged is refused in one sentence."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from hwsim.errors import InputError
from hwsim.images import ImageSet, images
from hwsim.network.preprocessing import ChannelOrder, Preprocessing

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (5, 6, 9, 3), np.uint8)  # N, H, W, C
GRAY = RNG.integers(0, 256, (5, 6, 9), np.uint8)
LABELS = np.array([3, 0, 999, 7, 1])

AS_RGB = Preprocessing(ChannelOrder.RGB, (6, 9))
AS_BGR = Preprocessing(ChannelOrder.BGR, (6, 9), mean=(104.0, 117.0, 123.0), scale=0.5)
AS_GRAY = Preprocessing(ChannelOrder.GRAY, (6, 9))


def write_list(folder, lines=None):
    (folder / "pictures").mkdir(exist_ok=True)
    for index, pixels in enumerate(RGB):
        Image.fromarray(pixels).save(folder / "pictures" / f"a picture {index}.png")
    path = folder / "list.txt"
    path.write_text(lines or "".join(f"pictures/a picture {i}.png {label}\n" for i, label in enumerate(LABELS)))
    return path


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder, pack=lambda data: data, suffix=""):
    (folder / f"some-images-idx3-ubyte{suffix}").write_bytes(pack(idx(GRAY)))
    (folder / f"some-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(LABELS % 256)))
    return folder / f"some-images-idx3-ubyte{suffix}"


def check(chosen, pixels, labels):
    assert isinstance(chosen, ImageSet)
    assert len(chosen) == len(pixels)
    for index, expected in enumerate(pixels):
        np.testing.assert_array_equal(chosen.pixels(index), expected)
        assert chosen.pixels(index).dtype == np.uint8
    assert (chosen.labels is None and labels is None) or chosen.labels.tolist() == list(labels)


def test_a_list_gives_images_beside_it_in_the_networks_channel_order(tmp_path):
    path = write_list(tmp_path)
    check(images(path, AS_RGB), RGB.transpose(0, 3, 1, 2), LABELS)
    check(images(str(path), AS_BGR), RGB[..., ::-1].transpose(0, 3, 1, 2), LABELS)
    check(images(path, AS_RGB, limit=2), RGB[:2].transpose(0, 3, 1, 2), LABELS[:2])
    absolute = write_list(tmp_path, f"\n{tmp_path}/pictures/a picture 4.png 12\r\n\n")
    check(images(absolute, AS_RGB), RGB[4:].transpose(0, 3, 1, 2), [12])


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2)], ids=["NHWC", "NCHW"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_may_have_channels_first_or_last(tmp_path, axes, save):
    path = tmp_path / "set.npz"
    save(path, images=RGB.transpose(axes), labels=LABELS)
    check(images(path, AS_RGB), RGB.transpose(0, 3, 1, 2), LABELS)
    save(path, images=np.asfortranarray(RGB.transpose(axes)))
    check(images(path, AS_RGB), RGB.transpose(0, 3, 1, 2), None)


@pytest.mark.parametrize("shape", [(5, 6, 9), (5, 6, 9, 1), (5, 1, 6, 9)])
def test_an_npz_may_be_gray(tmp_path, shape):
    np.savez(tmp_path / "set.npz", images=GRAY.reshape(shape), labels=LABELS.astype(np.uint16))
    check(images(tmp_path / "set.npz", AS_GRAY), GRAY[:, None], LABELS)
    check(images(tmp_path / "set.npz", AS_RGB), np.repeat(GRAY[:, None], 3, 1), LABELS)


def test_idx_files_are_a_pair_plain_or_packed(tmp_path):
    path = write_idx(tmp_path)
    check(images(path, AS_GRAY), GRAY[:, None], LABELS % 256)
    packed = write_idx(tmp_path, gzip.compress, ".gz")
    check(images(packed, AS_GRAY, limit=3), GRAY[:3, None], LABELS[:3] % 256)
    (tmp_path / "some-labels-idx1-ubyte").rename(tmp_path / "l")
    (tmp_path / "some-labels-idx1-ubyte.gz").rename(tmp_path / "m")
    check(images(path, AS_GRAY), GRAY[:, None], None)
    check(images(f"{path},{tmp_path / 'l'}", AS_GRAY), GRAY[:, None], LABELS % 256)
    check(images(f"{packed},{tmp_path / 'm'}", AS_GRAY), GRAY[:, None], LABELS % 256)


def test_a_single_image_and_its_formats(tmp_path):
    for name in ("one.png", "one.bmp", "one.ppm", "one.tiff"):
        Image.fromarray(RGB[0]).save(tmp_path / name)
        check(images(tmp_path / name, AS_RGB), RGB[:1].transpose(0, 3, 1, 2), None)
    Image.fromarray(GRAY[0]).save(tmp_path / "gray.png")
    check(images(tmp_path / "gray.png", AS_BGR), np.repeat(GRAY[:1, None], 3, 1), None)
    check(images(tmp_path / "gray.png", AS_GRAY), GRAY[:1, None], None)


def test_an_item_is_pixels_label_name_and_real_numbers(tmp_path):
    chosen = images(write_list(tmp_path), AS_BGR)
    item = chosen[2]
    assert (item.label, item.name) == (999, "a picture 2.png")
    expected = (RGB[2, :, :, ::-1].astype(np.float64) - [104, 117, 123]) * 0.5
    np.testing.assert_array_equal(item.real, expected.transpose(2, 0, 1).astype(np.float32))
    np.testing.assert_array_equal(chosen.real(2), item.real)
    assert chosen[-1].label == 1
    assert chosen[1:4:2].labels.tolist() == [0, 7]
    assert [image.label for image in chosen] == LABELS.tolist()
    with pytest.raises(IndexError):
        chosen[5]


def test_batches_keep_order_and_leave_nothing_out(tmp_path):
    chosen = images(write_list(tmp_path), AS_BGR)
    batches = list(chosen.batches(2))
    assert [batch.shape for batch in batches] == [(2, 3, 6, 9), (2, 3, 6, 9), (1, 3, 6, 9)]
    np.testing.assert_array_equal(np.concatenate(batches), np.stack([chosen.real(i) for i in range(5)]))
    np.testing.assert_array_equal(np.concatenate(list(chosen.pixel_batches(3))), np.stack([i.pixels for i in chosen]))
    with pytest.raises(InputError):
        list(chosen.batches(0))


def test_a_mean_image_is_subtracted_pixel_by_pixel(tmp_path):
    mean = RNG.normal(size=(3, 6, 9)).astype(np.float32)
    chosen = images(write_list(tmp_path), Preprocessing(ChannelOrder.RGB, (6, 9), mean))
    np.testing.assert_array_equal(chosen.real(1), RGB[1].transpose(2, 0, 1).astype(np.float32) - mean)


def test_a_larger_image_is_cropped_around_its_centre_or_resized(tmp_path):
    np.savez(tmp_path / "set.npz", images=RGB)
    cropped = images(tmp_path / "set.npz", Preprocessing(ChannelOrder.RGB, (3, 4), crop=True))
    check(cropped, RGB[:, 1:4, 2:6].transpose(0, 3, 1, 2), None)
    for preprocessing in (Preprocessing(ChannelOrder.RGB, (12, 5)), Preprocessing(ChannelOrder.RGB, (12, 5), crop=True)):
        resized = images(tmp_path / "set.npz", preprocessing)
        expected = np.asarray(Image.fromarray(RGB[3]).resize((5, 12), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(resized.pixels(3), expected.transpose(2, 0, 1))


def test_embedded_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    from hwsim.images.make_digits import digits_npz
    from hwsim.images.open import DIGITS

    made, stored = np.load(io.BytesIO(digits_npz())), np.load(DIGITS)  # zip headers differ from one Python to the next
    assert made.files == stored.files
    assert all(np.array_equal(made[name], stored[name]) for name in made.files)
    digits = images("digits", Preprocessing(ChannelOrder.GRAY, (8, 8)))
    source = datasets.load_digits()
    check(digits, source.images[:, None], source.target)


def bomb_png(width, height):
    """A header that claims a size, as a decompression bomb has it."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    import zlib

    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("pictures/none.png 3\n", "list.txt: line 1: the image 'pictures/none.png' does not exist"),
        ("pictures/a picture 0.png 3\n\npictures/a picture 1.png x\n", "list.txt: line 3: the label 'x' is not a whole number"),
        ("pictures/a picture 0.png -1\n", "the label '-1' is not a whole number"),
        ("pictures/a picture 0.png 99999999999\n", "the label '99999999999' is not a whole number"),
        ("pictures/a picture 0.png ²\n", "the label '²' is not a whole number"),
        ("word\n", "line 1: 'word' is not `path label`"),
        ("\n \n", "list.txt: no image in this list"),
        ("pictures 3\n", "the image 'pictures' does not exist"),
        ("pictures/a\0b.png 3\n", "does not exist"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_its_line(tmp_path, lines, said):
    path = write_list(tmp_path, lines)
    with pytest.raises(InputError) as caught:
        images(path, AS_RGB)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cannot be decoded"),
        (b"\xff\xd8\xff\xe0 damaged", "cannot be decoded"),
        (bomb_png(60_000, 60_000), "cannot be decoded (Image size"),
        (bomb_png(10_000, 8_000), "claims 10000x8000 pixels; at most 16,777,216"),
        (bomb_png(100, 100), "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "cannot be decoded"),
    ],
)
def test_a_damaged_image_is_refused_with_its_line_when_it_is_read(tmp_path, data, said):
    path = write_list(tmp_path)
    (tmp_path / "pictures" / "a picture 1.png").write_bytes(data)
    chosen = images(path, AS_RGB)
    assert chosen.pixels(0).shape == (3, 6, 9)
    with pytest.raises(InputError) as caught:
        chosen.pixels(1)
    assert f"{path}: line 2: " in str(caught.value) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_image_is_refused(tmp_path):
    path = tmp_path / "one.jpg"
    Image.fromarray(RNG.integers(0, 256, (60, 70, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(InputError, match="one.jpg cannot be decoded"):
        images(path, AS_RGB).pixels(0)


def npz(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def npy(shape, data, descr="|u1"):
    head = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK not a zip", "damaged, or no .npz"),
        (npz(pictures=npy((1, 2, 2), b"1234")), "no array `images`; it has pictures"),
        (npz(images=npy((1, 2, 2), b"123")), "claims shape (1, 2, 2) and holds fewer bytes"),
        (npz(images=npy((1 << 40, 1 << 20, 2), b"123")), "holds fewer bytes"),
        (npz(images=npy((1, 2, 2), b"\0" * (200 << 20))), "claims 209,715,328 bytes, more than 30 times the file"),
        (npz(images=npy((1, 2, 2), b"1234" * 4, "<f4")), "elements of type float32"),
        (npz(images=npy((1, 2, 2), b"cos\nsystem\n(S'exit'\ntR.", "|O")), "elements of type object"),
        (npz(images=npy((1, 2, 2), b"1234" * 2, "<u2")), "uint8 with axes"),
        (npz(images=npy((4,), b"1234")), "uint8 with axes"),
        (npz(images=npy((1, 2, 2, 2), b"12345678")), "1 or 3 channels are needed"),
        (npz(images=npy((0, 2, 2), b"")), "no images in it"),
        (npz(images=npy((1, 2, 2), b"1234"), labels=npy((2,), b"12")), "labels of shape (2,) for 1 images"),
        (npz(images=npy((1, 2, 2), b"1234"), labels=npy((1,), b"\xff", "|i1")), "a label is negative"),
        (npz(images=b"nonsense"), "no .npy file"),
    ],
)
def test_an_npz_that_cannot_be_used_is_refused(tmp_path, data, said):
    path = tmp_path / "set.npz"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        images(path, AS_GRAY)
    assert said in str(caught.value) and "set.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (idx(GRAY)[:-1], "the file holds 269"),
        (idx(GRAY) + b"0", "the file holds more"),
        (idx(GRAY)[:9], "not an idx file"),
        (gzip.compress(idx(GRAY))[:-20], "damaged or truncated"),
        (gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 1 << 31, 1 << 31, 1 << 31), mtime=0), "more than 30 times the file"),
        (b"\0\0\x08\x03" + struct.pack(">III", 1 << 31, 1 << 31, 1 << 31), "more than 30 times the file"),
        (gzip.compress(idx(GRAY) + b"\0" * (200 << 20)), "the file holds more"),
        (b"\0\0\x08\x03" + struct.pack(">III", 0, 28, 28), "no images in it"),
        (b"\0\0\x08\x04" + struct.pack(">III", 0, 28, 28), "not an idx file"),
    ],
)
def test_an_idx_file_that_cannot_be_used_is_refused(tmp_path, data, said):
    path = tmp_path / "images"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        images(path, AS_GRAY)
    assert said in str(caught.value)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    path = write_idx(tmp_path)
    (tmp_path / "some-labels-idx1-ubyte").write_bytes(idx(LABELS[:4] % 256))
    with pytest.raises(InputError, match=r"labels of shape \(4,\) for 5 images"):
        images(path, AS_GRAY)
    with pytest.raises(InputError, match="none: this file does not exist"):
        images(f"{path},{tmp_path / 'none'}", AS_GRAY)


def test_what_is_no_data_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for data, said in (
        (tmp_path / "none.txt", "none.txt: no such data"),
        (tmp_path, "no such data"),
        (tmp_path / "binary", "neither an image, an .npz, an idx file, nor a text"),
        (tmp_path / "none.png", "no such data"),
    ):
        with pytest.raises(InputError, match=said):
            images(data, AS_RGB)
    with pytest.raises(InputError, match="does not say how pixels enter"):
        images("digits", None)
    with pytest.raises(InputError, match="a limit of 0"):
        images("digits", AS_GRAY, limit=0)


def test_a_preprocessed_image_is_caffes(data_dir):
    """The lists name 350 and 500 files that are all there, with labels of 1,000 classes."""
    for name, number in (("calibration.txt", 350), ("scoring.txt", 500)):
        chosen = images(data_dir / "imagenet_val" / name, Preprocessing(ChannelOrder.BGR, (227, 227)))
        assert len(chosen) == number and chosen.labels.min() >= 0 and chosen.labels.max() <= 999
        with Image.open(data_dir / "imagenet_val" / "images" / chosen.name(0)) as image:
            np.testing.assert_array_equal(chosen.pixels(0), np.asarray(image)[:, :, ::-1].transpose(2, 0, 1))
