"""Import what the work needs, so that forked processes begin at once; none of it may start threads."""

import torch

import dacapo.blockwise.agglomeration
import dacapo.blockwise.conversion
import dacapo.blockwise.segmentation
import dacapo.blockwise.watershed_function
import dacapo.experiments.trainers.torch_trainer
import dacapo.inference.evaluation
import dacapo.inference.prediction
import dacapo.utils.sorted_affinities
import dacapo.validate  # noqa: F401

torch.set_num_threads(1)
