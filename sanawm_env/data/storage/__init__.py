"""Where the files of a dataset lie, and how videos and depth are written into them."""
