"""Read a bag (sqlite3) by rclpy's own deserialiser and messages. Prints one JSON line.

read_bag.py walk.db3
"""

from __future__ import annotations

import json
import sqlite3
import sys

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message


def main() -> None:
    counts, problems = {}, []
    with sqlite3.connect(sys.argv[1]) as base:
        topics = {number: (name, kind) for number, name, kind in base.execute("SELECT id, name, type FROM topics")}
        for number, data in base.execute("SELECT topic_id, data FROM messages ORDER BY timestamp"):
            name, kind = topics[number]
            package, _, title = kind.split("/")
            message_class = getattr(__import__(f"{package}.msg", fromlist=[title]), title)
            message = deserialize_message(bytes(data), message_class)
            counts[name] = counts.get(name, 0) + 1
            if deserialize_message(serialize_message(message), message_class) != message and "scan" not in name:
                problems.append(f"{name}: written again it is another message")
            if kind == "sensor_msgs/msg/Image":
                depth = message.encoding == "32FC1"
                pixels = np.frombuffer(message.data, "<f4" if depth else np.uint8)
                if pixels.size != message.height * message.width * (1 if depth else 3):
                    problems.append(f"{name}: {pixels.size} values for {message.height}x{message.width}")
    print(json.dumps({"counts": counts, "problems": problems[:5]}))


if __name__ == "__main__":
    main()
