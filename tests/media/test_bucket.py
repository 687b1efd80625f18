"""What the settings of a bucket come down to."""

from typing import Any

import pytest

from mavera.media.bucket import S3Files, _build_config
from mavera.settings import load_settings


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({}, None),
        ({"s3_endpoint_url": "http://127.0.0.1:9000/"}, "http://127.0.0.1:9000"),
        (
            {"s3_endpoint_url": "https://s3.example.com", "s3_path_style": False},
            "https://made.s3.example.com",
        ),
        (
            {"s3_endpoint_url": "https://s3.example.com:8443/", "s3_path_style": False},
            "https://made.s3.example.com:8443",
        ),
        ({"s3_path_style": False}, None),
    ],
)
def test_the_bucket_stands_in_the_path_or_in_the_host(given: dict[str, Any], endpoint: str | None) -> None:
    config = _build_config(load_settings({}, s3_bucket="made", **given))

    assert config.get("endpoint") == endpoint
    assert config["virtual_hosted_style_request"] == (not given.get("s3_path_style", True))


def test_links_are_signed_with_what_all_servers_of_a_bucket_know() -> None:
    def secret(**given: str) -> bytes | None:
        return S3Files(load_settings({}, s3_bucket="made", **given)).link_secret

    keyed = {"s3_access_key_id": "a", "s3_secret_access_key": "bbbbbb"}
    assert secret(**keyed) == secret(**keyed, key_pepper="pepper")
    assert secret(key_pepper="pepper") == secret(key_pepper="pepper", s3_prefix="p")
    assert secret(**keyed) != secret(key_pepper="pepper") != secret()
    assert secret() is None
    assert b"bbbbbb" not in (secret(**keyed) or b"")
