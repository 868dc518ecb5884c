"""The tour of `lz demo`: a small transformer on kernels that a policy chose, and what one changed rule does to it."""
