"""The commands of ``dacapo``, and the parameters that several of them share."""
