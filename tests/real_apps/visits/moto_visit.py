"""boto3 at moto's server."""

from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from real_apps.visit import SHARED_MEMORY, Site, expect, pattern, step, step_that_needs

OBJECT_BYTES = 300_000
IN_MEMORY = "moto keeps buckets and queues in its process's memory"


def prepare(directory: Path) -> None:
    pass


@step
def empty_account(site: Site) -> None:
    answer = _client(site, "s3").list_buckets()
    expect(answer["Buckets"], [], "the buckets")
    _observe(site, "ListBuckets", answer)
    answer = _client(site, "sts").get_caller_identity()
    expect(answer["Account"], "123456789012", "the account")
    _observe(site, "GetCallerIdentity", answer)


@step_that_needs(SHARED_MEMORY, reason=IN_MEMORY)
def objects(site: Site) -> None:
    s3 = _client(site, "s3")
    _observe(site, "CreateBucket", s3.create_bucket(Bucket="a-bucket"))
    _observe(site, "PutObject", s3.put_object(Bucket="a-bucket", Key="a/key", Body=pattern(OBJECT_BYTES)))
    answer = s3.get_object(Bucket="a-bucket", Key="a/key")
    expect(answer["Body"].read(), pattern(OBJECT_BYTES), "the object")
    _observe(site, "GetObject", answer)
    answer = s3.get_object(Bucket="a-bucket", Key="a/key", Range="bytes=100-199")
    expect(answer["Body"].read(), pattern(OBJECT_BYTES)[100:200], "the range")
    _observe(site, "GetObject of a range", answer)
    _observe(site, "HeadObject", s3.head_object(Bucket="a-bucket", Key="a/key"))
    answer = s3.list_objects_v2(Bucket="a-bucket")
    expect([entry["Key"] for entry in answer["Contents"]], ["a/key"], "the keys")
    _observe(site, "ListObjectsV2", answer)
    _observe(site, "DeleteObject", s3.delete_object(Bucket="a-bucket", Key="a/key"))


@step_that_needs(SHARED_MEMORY, reason=IN_MEMORY)
def queue(site: Site) -> None:
    sqs = _client(site, "sqs")
    answer = sqs.create_queue(QueueName="a-queue")
    _observe(site, "CreateQueue", answer)
    url = answer["QueueUrl"]
    _observe(site, "SendMessage", sqs.send_message(QueueUrl=url, MessageBody="Grüße"))
    answer = sqs.receive_message(QueueUrl=url)
    expect([message["Body"] for message in answer["Messages"]], ["Grüße"], "the messages")
    _observe(site, "ReceiveMessage", answer)


def _client(site: Site, service: str) -> Any:
    session = boto3.session.Session("a-key", "a-secret", region_name="us-east-1")
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, proxies={})
    return session.client(service, endpoint_url=site.url, config=config)


def _observe(site: Site, operation: str, answer: dict[str, Any]) -> None:
    """botocore has read the body; what it keeps of the head is enough."""
    metadata = answer["ResponseMetadata"]
    site.observe(operation, metadata["HTTPStatusCode"], metadata["HTTPHeaders"].items(), b"")
