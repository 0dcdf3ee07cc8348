"""The part that needs `rclpy`, of whichever ROS 2 is sourced; nothing else imports it."""
