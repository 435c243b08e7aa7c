"""The usual way, from published descriptions: what rslib is compared with where no package is."""
