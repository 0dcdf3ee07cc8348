"""ROS 2: messages, and worlds as robots that publish them (`sanawm ros2`)."""
