"""What an environment senses of its world: pictures, poses, depth, a laser scan, contact."""
