"""Camera poses, intrinsics, actions and ray encodings."""
