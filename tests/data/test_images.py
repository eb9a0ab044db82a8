"""Images are opened, cropped and re-encoded; what cannot be used is rejected and says why."""

import io

import numpy as np
import pytest
from PIL import Image

from cldf_core.data.images import ImageProblem, crop, open_crop, open_image, reencode
from samples import animate, input_spec, photo, through_jpeg, truncate


def test_exif_rotation_is_undone(tmp_path):
    image = Image.fromarray(photo()[:20])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn clockwise
    image.save(tmp_path / "x.png", exif=exif)
    pixels = open_image(tmp_path / "x.png")
    np.testing.assert_array_equal(pixels, np.rot90(photo()[:20], -1).transpose(2, 0, 1))


def test_all_kinds_of_images_become_rgb_channels_first(tmp_path):
    grey = photo()[..., 0]
    palette = Image.fromarray(photo()).quantize(256)
    alpha = np.dstack([photo(), np.tile([0, 255], (32, 16)).astype(np.uint8)])
    for image, want in (
        (Image.fromarray(photo()), photo()),
        (Image.fromarray(grey), np.dstack([grey] * 3)),
        (palette, np.asarray(palette.convert("RGB"))),
        (Image.fromarray(alpha), photo()),
    ):
        image.save(tmp_path / "x.png")
        pixels = open_image(tmp_path / "x.png")
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, want.transpose(2, 0, 1))


def test_cmyk_is_converted_to_rgb(tmp_path):
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    red, green, blue = open_image(tmp_path / "x.jpg")
    assert red.min() > 230
    assert max(green.max(), blue.max()) < 25


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p.write_bytes(b""), "unreadable"),
        (lambda p: p.write_bytes(b"GIF89a not at all"), "unreadable"),
        (lambda p: truncate(p), "unreadable"),
        (lambda p: animate(p), r"animated \(3 frames\)"),
    ],
    ids=["empty", "garbage", "truncated", "animated"],
)
def test_what_cannot_be_used_says_why(tmp_path, make, reason):
    path = tmp_path / "x.png"
    make(path)
    with pytest.raises(ImageProblem, match=reason) as caught:
        open_image(path)
    assert str(tmp_path) not in str(caught.value)  # the same reason on every machine


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    Image.fromarray(photo()).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageProblem, match="unreadable"):
        open_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("height", "width", "size", "place", "top", "left"),
    [
        (32, 32, 32, "centre", 0, 0),
        (33, 40, 32, "centre", 0, 4),
        (45, 32, 32, "centre", 6, 0),
        (100, 51, 32, "centre", 34, 9),
        # The original's crop is rows and columns 16 to 239 of the top-left 256 x 256.
        (256, 256, 224, "top-left", 16, 16),
        (401, 257, 224, "top-left", 16, 16),
        (1024, 512, 224, "top-left", 16, 16),
        # Where 16 pixels do not fit, it takes fewer.
        (128, 128, 128, "top-left", 0, 0),
        (224, 500, 224, "top-left", 0, 16),
        (230, 224, 224, "top-left", 6, 0),
        (239, 241, 224, "top-left", 15, 16),
    ],
)
def test_a_crop_is_central_or_16_pixels_from_the_top_left(height, width, size, place, top, left):
    pixels = np.arange(3 * height * width).reshape(3, height, width)
    np.testing.assert_array_equal(crop(pixels, size, place), pixels[:, top : top + size, left : left + size])


@pytest.mark.parametrize("place", ["centre", "top-left"])
def test_small_images_are_not_enlarged(place):
    with pytest.raises(ImageProblem, match=r"too small \(40 x 31, needed 32 x 32\)"):
        crop(np.zeros((3, 31, 40), np.uint8), 32, place)


def test_reencoding_resizes_there_and_back_and_then_goes_through_jpeg():
    pixels = photo(side=64)[:40].transpose(2, 0, 1)  # 40 high, 64 wide
    image = Image.fromarray(photo(side=64)[:40])
    assert reencode(pixels) is pixels
    # 64 * 30 / 40 = 48
    shrunk = image.resize((48, 30), Image.Resampling.BICUBIC)
    resized = np.asarray(shrunk.resize((64, 40), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    np.testing.assert_array_equal(reencode(pixels, resize=30), resized)
    np.testing.assert_array_equal(reencode(pixels, jpeg=40), through_jpeg(pixels, 40))
    both = reencode(pixels, resize=30, jpeg=40)
    np.testing.assert_array_equal(both, through_jpeg(resized, 40))
    assert both.dtype == np.uint8
    assert reencode(pixels, jpeg=100).shape == pixels.shape


def test_a_strip_that_cannot_be_reencoded_is_a_problem_of_the_image(capfd):
    with pytest.raises(ImageProblem, match=r"too large when resized \(163840000 x 8192\)"):
        reencode(np.zeros((3, 1, 20_000), np.uint8), resize=8192)
    with pytest.raises(ImageProblem, match="no JPEG can be made of it"):
        reencode(np.zeros((3, 1, 66_000), np.uint8), jpeg=90)


@pytest.mark.parametrize("place", ["centre", "top-left"])
def test_a_file_becomes_what_the_network_reads(tmp_path, place):
    Image.fromarray(photo(side=64)[:48]).save(tmp_path / "x.png")
    spec = input_spec(size=32, crop=place)
    pixels = open_image(tmp_path / "x.png")
    np.testing.assert_array_equal(open_crop(tmp_path / "x.png", spec), crop(pixels, 32, place))
    changed = open_crop(tmp_path / "x.png", spec, resize=40, jpeg=50)
    np.testing.assert_array_equal(changed, crop(reencode(pixels, resize=40, jpeg=50), 32, place))
    with pytest.raises(ImageProblem, match=r"too small \(64 x 48, needed 56 x 56\)"):
        open_crop(tmp_path / "x.png", input_spec(size=56))


def as_jpeg(pixels: np.ndarray, **how: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **how)  # type: ignore[arg-type]
    return file.getvalue()


HALF_GREY = np.concatenate([photo(side=64), np.full((64, 64, 3), 128, np.uint8)])
ENCODERS = [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_blocks": 3}]


def without_end(content: bytes, share: float) -> bytes:
    """The first part of a JPEG file, up to a share of its picture's data."""
    start = content.index(b"\xff\xda") + 14
    return content[: start + int((len(content) - start) * share)]


@pytest.mark.parametrize("how", ENCODERS, ids=str)
@pytest.mark.parametrize(
    "damage",
    [
        lambda content, head: head,
        lambda content, head: head + b"\xff\xd9",
        lambda content, head: head + bytes(len(content) - len(head)),
        lambda content, head: head + bytes(len(content) - len(head) - 2) + b"\xff\xd9",
        lambda content, head: head + bytes(99) + content[len(head) + 99 :],
        lambda content, head: content[:-2],
    ],
    ids=["cut", "cut and ended", "zeros", "zeros and an end", "zeros within", "no end"],
)
def test_a_jpeg_file_whose_data_end_early_is_truncated(tmp_path, how, damage):
    content = as_jpeg(photo(side=128), quality=90, **how)
    for share in (0.2, 0.5, 0.8):
        (tmp_path / "x.jpg").write_bytes(damage(content, without_end(content, share)))
        if not (how.get("progressive") and b"\0" * 99 in damage(content, without_end(content, share))):
            with pytest.raises(ImageProblem, match="truncated"):
                open_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("how", ENCODERS, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "pixels", [photo(), HALF_GREY, np.zeros_like(HALF_GREY), np.full((512, 512, 3), 90, np.uint8), photo()[:1, :1]]
)
def test_an_honest_jpeg_file_is_not_truncated(tmp_path, pixels, mode, how):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **how)
    content = file.getvalue()
    for more in (b"", b"and more" * 9, bytes(999), content):
        (tmp_path / "x.jpg").write_bytes(content + more)
        assert open_image(tmp_path / "x.jpg").shape == (3, *pixels.shape[:2])
    if "optimize" not in how:  # by whose tables these zeros may be data
        (tmp_path / "x.jpg").write_bytes(content[:-2] + bytes(99) + content[-2:])  # filled up
        open_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "AVIF"])
def test_other_files_that_end_early_are_rejected(tmp_path, kind):
    Image.fromarray(photo(side=128)).save(tmp_path / "x", kind)
    content = (tmp_path / "x").read_bytes()
    for share in (0.2, 0.5, 0.8, 0.99):
        (tmp_path / "x").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ImageProblem, match=r"truncated|unreadable"):
            open_image(tmp_path / "x")
    if kind == "PNG":
        (tmp_path / "x").write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
        with pytest.raises(ImageProblem, match=r"truncated \(no end-of-image chunk\)"):
            open_image(tmp_path / "x")
        (tmp_path / "x").write_bytes(content + b"and more")
        open_image(tmp_path / "x")
