"""The tour of `lz demo`: a small transformer on kernels that a policy chose, and what one changed rule does to it.
`ab` is that of `lz demo ab`: threads serve while policies are swapped and guards end arms that misbehave."""
