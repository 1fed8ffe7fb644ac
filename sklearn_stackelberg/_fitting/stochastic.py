class KeptPlay:
    pass


class StochasticFit:
    pass
