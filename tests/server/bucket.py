"""A real S3 server (moto's), which checks every signature, with one bucket and one key."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

REGION = "eu-north-1"
# What is done before anybody has a key: a user, a policy, a key, a bucket.
_UNSIGNED = "4"
_ALL_OF_S3 = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


@dataclass(frozen=True)
class Bucket:
    url: str
    key_id: str
    secret: str

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "s3_bucket": "made",
            "s3_endpoint_url": self.url,
            "s3_region": REGION,
            "s3_access_key_id": self.key_id,
            "s3_secret_access_key": self.secret,
        }

    def client(self) -> Any:
        return _client("s3", self.url, self.key_id, self.secret)

    def objects(self) -> dict[str, int]:
        """Return the size of each."""
        listed = self.client().list_objects_v2(Bucket="made").get("Contents", [])
        return {one["Key"]: one["Size"] for one in listed}

    def unfinished(self) -> int:
        """Return how many uploads in parts were begun and neither ended nor taken back."""
        return len(self.client().list_multipart_uploads(Bucket="made").get("Uploads", []))


@contextmanager
def running_bucket() -> Iterator[Bucket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environ = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": _UNSIGNED}
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            url = f"http://127.0.0.1:{port}"
            yield _bucket(url)
        finally:
            server.kill()


def _bucket(url: str) -> Bucket:
    iam = _client("iam", url, "nobody", "nothing")
    iam.create_user(UserName="mavera")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [_ALL_OF_S3]})
    iam.put_user_policy(UserName="mavera", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="mavera")["AccessKey"]
    place = {"LocationConstraint": REGION}
    _client("s3", url, "nobody", "nothing").create_bucket(Bucket="made", CreateBucketConfiguration=place)
    return Bucket(url, key["AccessKeyId"], key["SecretAccessKey"])


def _client(service: str, url: str, key_id: str, secret: str) -> Any:
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": secret}
    return boto3.client(service, endpoint_url=url, region_name=REGION, **keys)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
