"""`sanawm review`: look at episodes in a browser, and keep or drop them."""
