"""Selection: the weights of the epoch that is best on the validation examples of the domain."""
