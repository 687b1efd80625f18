"""
A real S3 server (moto's), which checks every signature, with one bucket and one key.

    stdout   {"url", "key_id", "secret"}, then an answer to each line of stdin
    stdin    objects | unfinished | remove NAME

Runs in the clients' environment, whose packages are not mavera's. It ends when its stdin does.
"""

import json
import os
import sys

REGION = "eu-north-1"
BUCKET = "made"
ALL_OF_S3 = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
# What is done before anybody has a key: a user, a policy, a key, a bucket. Read when moto is imported.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

import boto3  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402


def client(service, url, key_id="nobody", secret="nothing"):
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": secret}
    return boto3.client(service, endpoint_url=url, region_name=REGION, **keys)


def make_key(url):
    iam = client("iam", url)
    iam.create_user(UserName="mavera")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [ALL_OF_S3]})
    iam.put_user_policy(UserName="mavera", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="mavera")["AccessKey"]
    place = {"LocationConstraint": REGION}
    client("s3", url).create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
    return key["AccessKeyId"], key["SecretAccessKey"]


def answer(s3, words):
    match words:
        case ["objects"]:
            listed = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
            return {one["Key"]: one["Size"] for one in listed}
        case ["unfinished"]:
            return len(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))
        case ["remove", name]:
            s3.delete_object(Bucket=BUCKET, Key=name)
            return None


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    key_id, secret = make_key(url)
    print(json.dumps({"url": url, "key_id": key_id, "secret": secret}), flush=True)
    s3 = client("s3", url, key_id, secret)
    for line in sys.stdin:
        print(json.dumps(answer(s3, line.split())), flush=True)


if __name__ == "__main__":
    main()
