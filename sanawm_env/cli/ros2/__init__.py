"""`sanawm ros2`: worlds as robots, live and in bags."""
