"""Makes the photos of this folder and `expected.json`: size and SHA-256 of the RGB pixels as OpenCV reads them.

    pip install opencv-python-headless pillow numpy tifffile imagecodecs piexif pillow-heif
    python make_photos.py            # wants heif-enc (libheif-examples) and cjpeg, jpegtran (libjpeg-turbo-progs)

Made with OpenCV 5.0.0, Pillow 13.0.0, libheif 1.15.1, pillow-heif 1.8.1, libjpeg-turbo 2.1.5. The scene is drawn, so nothing here is
anyone's photograph.
"""

import hashlib
import json
import pathlib
import struct
import subprocess
import zlib

import cv2
import numpy as np
import piexif
import pillow_heif
import tifffile
from PIL import Image

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(5)


def scene(width, height):
    """A worn strip on a field under a sky, with grain: colour edges, texture and gradients."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x / width, y / height
    image = np.stack([60 + 40 * v + 20 * np.sin(40 * u), 120 + 50 * np.sin(25 * v) * v, 40 + 30 * u], -1)
    image[v < 0.3] = np.stack([120 + 80 * v, 150 + 60 * v, 220 - 40 * u], -1)[v < 0.3]
    strip = (v > 0.35) & (np.abs(u - 0.5) < 0.1 + 0.2 * (v - 0.35))
    image[strip] = np.stack([190 + 20 * np.sin(60 * v), 160 + 20 * np.sin(60 * v), 110 + 0 * v], -1)[strip]
    crack = strip & (np.abs(np.sin(30 * u + 8 * np.sin(9 * v))) < 0.05)
    image[crack] = (70, 55, 40)
    ball = (x - 0.7 * width) ** 2 + (y - 0.7 * height) ** 2 < (0.05 * width) ** 2
    image[ball] = (200, 20, 30)
    blobs = cv2.resize(rng.normal(0, 10, (height // 4 + 1, width // 4 + 1, 3)).astype(np.float32), (width, height))
    return np.clip(image + blobs, 0, 255).astype(np.uint8)


def save(image, name, **options):
    Image.fromarray(image).save(HERE / name, **options)


def exif_bytes(orientation=None, taken=None):
    fields = {"0th": {}, "Exif": {}, "GPS": {piexif.GPSIFD.GPSLatitudeRef: b"N"}}
    if orientation is not None:
        fields["0th"][piexif.ImageIFD.Orientation] = orientation
    if taken is not None:
        fields["Exif"][piexif.ExifIFD.DateTimeOriginal] = taken
    return piexif.dump(fields)


def png_with_chunks(data, *chunks):
    """`data` with chunks put in after IHDR."""
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + made + data[33:]


def jpegs(small):
    save(small, "base420.jpg", quality=90, subsampling="4:2:0")
    save(small, "base422.jpg", quality=90, subsampling="4:2:2")
    save(small, "base444.jpg", quality=90, subsampling="4:4:4")
    save(small, "progressive.jpg", quality=90, progressive=True)
    save(small[..., 1], "grey.jpg", quality=90)
    Image.fromarray(small).convert("CMYK").save(HERE / "cmyk.jpg", quality=90)
    inks = np.ascontiguousarray(np.dstack([255 - small, small[..., 0] // 4]))
    Image.frombytes("CMYK", inks.shape[1::-1], inks.tobytes()).save(HERE / "cmyk_key.jpg", quality=90)
    ppm = HERE / "scene.ppm"
    Image.fromarray(small).save(ppm)
    for name, options in {
        "base440.jpg": ["-sample", "1x2"],
        "base411.jpg": ["-sample", "4x1"],
        "restart.jpg": ["-sample", "2x2", "-restart", "1"],
        "rgb.jpg": ["-rgb"],
    }.items():
        (HERE / name).write_bytes(subprocess.check_output(["cjpeg", "-quality", "90", *options, str(ppm)]))
    # One scan per component, not progressive.
    (HERE / "scans.txt").write_text("0;\n1;\n2;\n")
    base = str(HERE / "base420.jpg")
    (HERE / "scans.jpg").write_bytes(
        subprocess.check_output(["jpegtran", "-scans", str(HERE / "scans.txt"), base])
    )
    (HERE / "arithmetic.jpg").write_bytes(subprocess.check_output(["jpegtran", "-arithmetic", base]))
    for path in ("scene.ppm", "scans.txt"):
        (HERE / path).unlink()
    plain = (HERE / "base420.jpg").read_bytes()
    (HERE / "trailing.jpg").write_bytes(plain + b"what some phones append" + plain)
    # A stray byte before the end marker, as some cameras leave it.
    (HERE / "stray.jpg").write_bytes(plain[:-2] + b"\x00" + plain[-2:])
    for orientation in range(1, 9):
        exif = exif_bytes(orientation, "2026:06:14 10:32:11")
        Image.fromarray(small).save(HERE / f"turned{orientation}.jpg", quality=90, exif=exif)
    Image.fromarray(small).save(HERE / "turned99.jpg", quality=90, exif=exif_bytes(99, "0000:00:00 00:00:00"))
    # An EXIF block whose directory claims 65,535 entries of 4 GB each.
    entry = struct.pack("<HHII", 0x0112, 3, 0xFFFFFFFF, 0xFFFFFFFF)
    absurd = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 0xFFFF) + entry * 40
    app1 = b"\xff\xe1" + struct.pack(">H", len(absurd) + 2) + absurd
    (HERE / "absurd_exif.jpg").write_bytes(plain[:2] + app1 + plain[2:])


def large(scene_large):
    """Over the size from which on a JPEG is read twice."""
    save(scene_large, "large420.jpg", quality=40, subsampling="4:2:0")
    Image.fromarray(scene_large).save(HERE / "large422_turned6.jpg", quality=40, subsampling="4:2:2", exif=exif_bytes(6))
    save(scene_large, "large_progressive.jpg", quality=40, progressive=True)
    Image.fromarray(scene_large).save(HERE / "large_turned3.jpg", quality=40, subsampling="4:4:4", exif=exif_bytes(3))


def pngs(small):
    alpha = np.tile(np.linspace(0, 255, small.shape[1]).astype(np.uint8), (small.shape[0], 1))
    deep = (small.astype(np.uint16) << 8) | rng.integers(0, 256, small.shape, dtype=np.uint16)
    write = lambda name, image: cv2.imwrite(str(HERE / name), image)
    save(small, "rgb8.png")
    save(np.dstack([small, alpha]), "rgba8.png")
    save(small[..., 1], "grey8.png")
    save(np.dstack([small[..., 1], alpha]), "grey_alpha8.png")
    write("grey16.png", deep[..., 1])
    write("rgb16.png", deep)
    write("rgba16.png", np.dstack([deep, alpha.astype(np.uint16) << 8]))
    palette = Image.fromarray(small).quantize(64)
    palette.save(HERE / "palette.png")
    palette.save(HERE / "palette_transparent.png", transparency=bytes(range(0, 256, 4)))
    save(small[..., 1], "grey_transparent.png", transparency=120)
    Image.fromarray(small[..., 1]).convert("1").save(HERE / "bits1.png")
    save(small, "turned6.png", exif=exif_bytes(6, "2026:06:14 10:32:11"))
    plain = (HERE / "rgb8.png").read_bytes()
    text = b"Comment\0\0" + zlib.compress(b"a" * 20_000_000, 9)
    (HERE / "text_bomb.png").write_bytes(png_with_chunks(plain, (b"zTXt", text)))
    # Interlaced, written by hand: Adam7 of the whole scene.
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(
        b"\0" + row.tobytes() for x, y, dx, dy in passes for row in small[y::dy, x::dx] if row.size
    )
    header = struct.pack(">IIBBBBB", small.shape[1], small.shape[0], 8, 2, 0, 0, 1)
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    signature = b"\x89PNG\r\n\x1a\n"
    end = chunk(b"IEND", b"")
    (HERE / "interlaced.png").write_bytes(
        signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + end
    )
    bomb = lambda w, h: (
        signature
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(100_000), 9))
        + end
    )
    (HERE / "bomb.png").write_bytes(bomb(50_000, 50_000))
    (HERE / "many_pixels.png").write_bytes(bomb(20_000, 20_000))
    (HERE / "zero.png").write_bytes(bomb(0, 10))
    frames = [Image.fromarray(small), Image.fromarray(small[::-1])]
    frames[0].save(HERE / "animated.png", save_all=True, append_images=frames[1:], duration=100)


def webps(small):
    alpha = np.tile(np.linspace(0, 255, small.shape[1]).astype(np.uint8), (small.shape[0], 1))
    save(small, "lossy.webp", quality=90)
    save(small, "lossless.webp", lossless=True)
    save(np.dstack([small, alpha]), "alpha.webp", lossless=True, exact=True)
    save(small, "turned6.webp", lossless=True, exif=exif_bytes(6, "2026:06:14 10:32:11"))
    frames = [Image.fromarray(small), Image.fromarray(small[::-1])]
    frames[0].save(HERE / "animated.webp", save_all=True, append_images=frames[1:], duration=100)


def tiffs(small):
    deep = (small.astype(np.uint16) << 8) | rng.integers(0, 256, small.shape, dtype=np.uint16)
    alpha = np.tile(np.linspace(0, 255, small.shape[1]).astype(np.uint8), (small.shape[0], 1))
    save(small, "rgb8.tif", compression="tiff_lzw")
    save(small, "deflate.tif", compression="tiff_adobe_deflate")
    save(small[..., 1], "grey8.tif")
    save(np.dstack([small, alpha]), "rgba8.tif", compression="tiff_lzw")
    tifffile.imwrite(HERE / "rgb16.tif", deep, photometric="rgb", compression="zlib")
    tifffile.imwrite(HERE / "grey16.tif", deep[..., 1], photometric="minisblack", compression="zlib")
    tifffile.imwrite(HERE / "tiled.tif", small, photometric="rgb", tile=(32, 32), compression="zlib")
    tifffile.imwrite(HERE / "bigendian.tif", small, photometric="rgb", byteorder=">", compression="zlib")
    tifffile.imwrite(
        HERE / "turned6.tif", small, photometric="rgb", compression="zlib", extratags=[(274, "H", 1, 6, True)]
    )
    pages = [Image.fromarray(small), Image.fromarray(small[::-1, ::-1])]
    pages[0].save(HERE / "pages.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")


def heics():
    for name, source, options in [
        ("plain.heic", "rgb8.png", ["-q", "80"]),
        ("plain.avif", "rgb8.png", ["-A", "-q", "80"]),
    ]:
        subprocess.check_call(
            ["heif-enc", *options, "-o", str(HERE / name), str(HERE / source)], stdout=subprocess.DEVNULL
        )
    # pillow-heif writes the rotation that phones write (`irot`), on top of turning it; heif-enc of 1.15 does not.
    pillow_heif.from_pillow(Image.open(HERE / "turned6.jpg")).save(HERE / "turned6.heic", quality=80)


def main():
    small = scene(197, 131)
    jpegs(small)
    large(scene(2600, 1742))
    pngs(small)
    webps(small)
    tiffs(small)
    heics()
    expected = {}
    for path in sorted(HERE.iterdir()):
        # OpenCV on the bomb would take 7.5 GB.
        if path.suffix in {".py", ".json", ".heic", ".avif"} or path.stem == "bomb":
            continue
        # OpenCV fails on the turned TIFF (it checks the size it had before turning), and on the bad ones.
        try:
            image = cv2.imread(str(path))
        except cv2.error:
            continue
        if image is None:
            continue
        rgb = np.ascontiguousarray(image[..., ::-1])
        expected[path.name] = {
            "width": rgb.shape[1],
            "height": rgb.shape[0],
            "sha256": hashlib.sha256(rgb.tobytes()).hexdigest(),
        }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
