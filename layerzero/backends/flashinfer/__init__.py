"""FlashInfer, package flashinfer-python. Neither these modules nor the library look at strides: the facts say all."""
