//! What the trainer promises: true gradients, the same bits for the same seed, kernels that agree, integers that
//! are what the float side trained with, and an optimiser that does what Keras' does.

mod golden;
mod gradients;
mod promises;
