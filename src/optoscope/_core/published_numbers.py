"""Numbers of published optimizers that their JAX and their PyTorch forms have in common."""

# VeLO's features of the loss (Metz et al. 2022), which Celo has too: running means, what comes of
# them and of the fraction of training, and the fractions themselves.
NUM_LOSS_MEANS = 10
NUM_LOSS_FEATURES = 18
TRAINING_FRACTIONS = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
SHORTEST_HALF_LIFE = 10.0
NEVER_SEEN = 1e12
LEAST_DENOMINATOR = 1e-8

# Celo2: what gradients are clipped to, and Adam's learning rate as a multiple of the network's.
LARGEST_GRADIENT = 1000.0
CELO2_ADAM_FACTOR = 20.0
