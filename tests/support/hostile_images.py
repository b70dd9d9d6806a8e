"""A folder of files that an image reader may meet, most of which are no good."""

import struct
import zlib

import numpy as np
from PIL import Image

PICTURE = np.arange(48 * 32 * 3, dtype=np.uint32).reshape(32, 48, 3) % 256


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, data, depth=8, colour=2):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def good(folder):
    """Pictures of unusual forms, each of which can be read. Returns their names."""
    picture = Image.fromarray(PICTURE.astype(np.uint8))
    grey = np.linspace(0, 65535, 32 * 48).reshape(32, 48)
    forms = {
        "plain.png": picture,
        "plain.webp": picture,
        "plain.bmp": picture,
        "plain.tif": picture,
        "wrong_ending.txt": picture,
        "no_ending": picture,
        "upper.JPG": picture,
        "cmyk.jpg": picture.convert("CMYK"),
        "palette.png": picture.quantize(16),
        "palette.gif": picture.quantize(16),
        "grey.png": picture.convert("L"),
        "grey_alpha.png": picture.convert("LA"),
        "alpha.png": picture.convert("RGBA"),
        "one_bit.png": picture.convert("1"),
        "lab.tif": picture.convert("LAB"),
        "hsv.webp": picture.convert("RGB"),
        "sixteen.png": Image.fromarray(grey.astype(np.uint16)),
        "sixteen.tif": Image.fromarray(grey.astype(np.uint16)),
        "float.tif": Image.fromarray((grey / 65535).astype(np.float32)),
        "integers.tif": Image.fromarray(grey.astype(np.int32)),
        "one_pixel.png": picture.crop((0, 0, 1, 1)),
        "strip.png": picture.resize((4000, 1)),
        "übung 1.png": picture,
        "new\nline.png": picture,
        "-rf.png": picture,
        "<b>&.png": picture,
    }
    endings = {"wrong_ending.txt": "PNG", "no_ending": "JPEG"}
    for name, image in forms.items():
        image.save(folder / name, endings.get(name))
    frames = [picture, picture.rotate(90), picture.rotate(180)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "animated.png", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=exif)
    (folder / "trailing.jpg").write_bytes((folder / "upper.JPG").read_bytes() + b"\0" * 100)
    (folder / "inner").mkdir()
    picture.save(folder / "inner" / "deep.png")
    (folder / "link_within.png").symlink_to("plain.png")
    names = ["animated.gif", "animated.webp", "animated.png", "turned.jpg", "trailing.jpg"]
    return [
        *forms,
        *names,
        "inner/deep.png",
        "inner/../plain.png",
        "link_within.png",
        "./plain.png",
    ]


def bad(folder, outside):
    """What must not be read as a picture. Returns the names; `outside` gets a picture that is not
    below the folder."""
    whole = (folder / "upper.JPG").read_bytes()
    portable = (folder / "plain.png").read_bytes()
    contents = {
        "empty.jpg": b"",
        "zeros.png": b"\0" * 1000,
        "noise.jpg": bytes(range(256)) * 8,
        "page.jpg": b"<!DOCTYPE html><html><body>404</body></html>",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "signature.png": portable[:8],
        "half.jpg": whole[: len(whole) // 2],
        "half.png": portable[: len(portable) // 2],
        "last_bytes.jpg": whole[:-4],
        "no_data.png": png(48, 32, b""),
        "huge.png": png(30_000, 30_000, b"\0"),
        "vast.png": png(2**31 - 1, 2**31 - 1, b"\0"),
        "no_pixels.png": png(0, 0, b""),
        "text.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "movie.mp4": b"\0\0\0\x18ftypmp42" + b"\0" * 64,
        "document.pdf": b"%PDF-1.7\n%%EOF\n",
        "program.png": b"\x7fELF" + b"\0" * 64,
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "archive.zip": b"PK\3\4" + b"\0" * 64,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "a_folder.png").mkdir()
    (folder / "nowhere.png").symlink_to("gone.png")
    (folder / "circle.png").symlink_to("circle.png")
    outside.mkdir()
    Image.fromarray(PICTURE.astype(np.uint8)).save(outside / "secret.png")
    (folder / "link_out.png").symlink_to(outside / "secret.png")
    return [
        *contents,
        *("a_folder.png", "nowhere.png", "circle.png", "link_out.png", "gone.png"),
        *(f"../{outside.name}/secret.png", str(outside / "secret.png"), "inner\\deep2.png"),
        *(
            "x" * 300 + ".png",
            "plain.png/more.png",
            "https://host/a.png",
            "data:image/png;base64,x",
        ),
    ]
