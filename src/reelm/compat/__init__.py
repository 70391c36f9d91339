"""The names and signatures of other programs, for those who come from them."""
