"""Golden packages: what a layer must compute, as memory images, with everything that is needed to compute it again."""
