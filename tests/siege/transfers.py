"""A client that loads 5 MB up and down, by turns, until its standard input ends; it says how many transfers it made."""

import json
import select
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.behaviour import digest
from support.client import Connection
from support.messages import pattern

BIG = pattern(5_000_000)


def main(host: str, port: int) -> None:
    count = 0
    while not count or not select.select([sys.stdin], [], [], 0)[0]:
        with Connection((host, port)) as client:
            assert client.request("GET", "/big").body == BIG, "another body came down"
        with Connection((host, port)) as client:  # the first may have been told `close`, if others wait
            answer = client.request("POST", "/upload", body=BIG)
            assert json.loads(answer.body)["digest"] == digest(BIG), "another body came up"
        count += 2
    print(f"{count} transfers")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
