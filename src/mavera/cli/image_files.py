"""Make the images of a question from what a person types: paths of files and URLs."""

import base64
import stat
from pathlib import Path

from mavera.core.items import Image
from mavera.errors import ConfigurationError
from mavera.fetch.image_header import read_header

_PREFIXES = ("http://", "https://", "data:")


def read_image(path_or_url: str, *, most_bytes: int) -> Image:
    """
    Return the image at a URL as it is, and the image in a file as a data URL.

    Raises ConfigurationError if the file cannot be read, has more than `most_bytes`, or holds no image.
    """
    if path_or_url[:8].lower().startswith(_PREFIXES):
        return Image(path_or_url)
    if "://" in path_or_url:
        raise ConfigurationError(
            f"{path_or_url} has to be a file, or a URL that begins with http:// or https://."
        )
    data = _read_file(Path(path_or_url).expanduser(), most_bytes)
    header = read_header(data)
    if header is None:
        raise ConfigurationError(
            f"{path_or_url} is not a PNG, JPEG, GIF or WebP image. Convert it to one of them first."
        )
    return Image(f"data:image/{header.format};base64,{base64.b64encode(data).decode('ascii')}")


def _read_file(path: Path, most_bytes: int) -> bytes:
    """Return the bytes of a regular file. A pipe or a device could be endless."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f"{path} is not a file. Name an image file, or a URL.")
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no file {path}. Name an image file, or a URL.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"{path} cannot be read ({reason}).") from error
    if len(data) > most_bytes:
        raise ConfigurationError(
            f"{path} is larger than {most_bytes:,} bytes. Make the image smaller, or raise "
            "MAVERA_IMAGE_MAX_BYTES."
        )
    return data
