"""`sanawm doctor`: does a checkpoint fit and run here?"""
