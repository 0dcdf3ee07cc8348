"""LeRobotDataset v3.0, written and read without lerobot."""
