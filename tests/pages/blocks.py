"""The code blocks of the interface pages, and for each member the pages that show it.

A block is a list of steps: code, and what its last line shows, if the page says so.
"""

from __future__ import annotations

from typing import NamedTuple

DUMMY_TRAINER = "dacapo.experiments.trainers.dummy_trainer"
RUN = "dacapo.experiments.run"
MODEL = "dacapo.experiments.model"
DUMMY_PREDICTOR = "dacapo.experiments.tasks.predictors.dummy_predictor"


class Block(NamedTuple):
    """One code block.

    Attributes:
        member: Class and member that it belongs to.
        pages: Modules whose page has it; names are taken from there.
        steps: Code, and what it shows.
        raises: Error that the page's own words promise where the code runs into it.
        warns: Warning that the code brings.
        note: In what the block contradicts itself or other words of the pages.
    """

    member: str
    pages: tuple[str, ...]
    steps: list[tuple[str, str | None]]
    raises: type[Exception] | None = None
    warns: str | None = None
    note: str = ""


def plain(member: str, pages: tuple[str, ...], *lines: str, shows: str | None = None) -> Block:
    """Return a block of one step."""
    return Block(member, pages, [("\n".join(lines), shows)])


TRAINERS = (DUMMY_TRAINER, RUN)
MODELS = (DUMMY_TRAINER, RUN, MODEL, DUMMY_PREDICTOR)
ARCHITECTURES = (RUN, MODEL)

SHAPE = "input_shape = Coordinate((128, 128, 128))"
MAKE_MODEL = "model = Model(architecture, prediction_head)"
THREE_ITERATIONS = (
    "training_stats = TrainingStats()",
    "training_stats.add_iteration_stats(TrainingIterationStats(0, 0.1))",
    "training_stats.add_iteration_stats(TrainingIterationStats(1, 0.2))",
    "training_stats.add_iteration_stats(TrainingIterationStats(2, 0.3))",
)
MAKE_ARRAY = (
    "array = NumpyArray.from_np_array("
    'np.zeros((2, 3, 4)), Roi((0, 0, 0), (2, 3, 4)), Coordinate((1, 1, 1)), ["z", "y", "x"])'
)
ZEROS = """
array([[[0., 0., 0., 0.],
        [0., 0., 0., 0.],
        [0., 0., 0., 0.]],

       [[0., 0., 0., 0.],
        [0., 0., 0., 0.],
        [0., 0., 0., 0.]]])
"""

BLOCKS = [
    plain("Trainer.create_optimizer", TRAINERS, "optimizer = trainer.create_optimizer(model)"),
    plain(
        "Trainer.iterate",
        TRAINERS,
        "for iteration_stats in trainer.iterate(num_iterations, model, optimizer, device):",
        "    print(iteration_stats)",
    ),
    plain("Trainer.can_train", TRAINERS, "can_train = trainer.can_train(datasets)"),
    plain(
        "Trainer.build_batch_provider",
        TRAINERS,
        "trainer.build_batch_provider(datasets, model, task, snapshot_container)",
    ),
    plain("Model.forward", MODELS, MAKE_MODEL, "model.forward(x)", shows="torch.Tensor"),
    plain(
        "Model.compute_output_shape",
        MODELS,
        MAKE_MODEL,
        "model.compute_output_shape(input_shape)",
        shows="(1, Coordinate(1, 1, 1))",
    ),
    plain("Model.scale", MODELS, MAKE_MODEL, "model.scale(voxel_size)", shows="Coordinate(1, 1, 1)"),
    plain("DummyTrainer.create_optimizer", (DUMMY_TRAINER,), "optimizer = create_optimizer(model)"),
    plain(
        "DummyTrainer.iterate",
        (DUMMY_TRAINER,),
        "for stats in iterate(num_iterations, model, optimizer, device):",
        "    print(stats)",
    ),
    plain(
        "DummyTrainer.build_batch_provider",
        (DUMMY_TRAINER,),
        "batch_provider = build_batch_provider(datasplit, architecture, task, snapshot_container)",
    ),
    plain("DummyTrainer.can_train", (DUMMY_TRAINER,), "can_train(datasplit)"),
    plain("Architecture.input_shape", ARCHITECTURES, SHAPE, "model = MyModel(input_shape)"),
    plain(
        "Architecture.eval_shape_increase",
        ARCHITECTURES,
        "eval_shape_increase = Coordinate((0, 0, 0))",
        "model = MyModel(input_shape, eval_shape_increase)",
    ),
    plain(
        "Architecture.num_in_channels",
        ARCHITECTURES,
        "num_in_channels = 1",
        "model = MyModel(input_shape, num_in_channels)",
    ),
    plain(
        "Architecture.num_out_channels",
        ARCHITECTURES,
        "num_out_channels = 1",
        "model = MyModel(input_shape, num_out_channels)",
    ),
    plain("Architecture.dims", ARCHITECTURES, SHAPE, "model = MyModel(input_shape)", "model.dims", shows="3"),
    plain(
        "Architecture.scale",
        ARCHITECTURES,
        "input_voxel_size = Coordinate((1, 1, 1))",
        "model = MyModel(input_shape)",
        "model.scale(input_voxel_size)",
        shows="Coordinate((1, 1, 1))",
    ),
    plain(
        "TrainingStats.add_iteration_stats",
        (RUN,),
        *THREE_ITERATIONS,
        "training_stats.iteration_stats",
        shows="[TrainingIterationStats(iteration=0, loss=0.1), TrainingIterationStats(iteration=1, loss=0.2),"
        " TrainingIterationStats(iteration=2, loss=0.3)]",
    ),
    plain(
        "TrainingStats.delete_after",
        (RUN,),
        *THREE_ITERATIONS,
        "training_stats.delete_after(1)",
        "training_stats.iteration_stats",
        shows="[TrainingIterationStats(iteration=0, loss=0.1)]",
    ),
    plain("TrainingStats.trained_until", (RUN,), *THREE_ITERATIONS, "training_stats.trained_until()", shows="3"),
    plain(
        "TrainingStats.to_xarray",
        (RUN,),
        *THREE_ITERATIONS,
        "training_stats.to_xarray()",
        shows="<xarray.DataArray (iterations: 3)> array([0.1, 0.2, 0.3])"
        " Coordinates: * iterations (iterations) int64 0 1 2",
    ),
    plain("ValidationScores.subscores", (RUN,), "validation_scores.subscores([validation_scores.scores[0]])"),
    Block(
        "ValidationScores.add_iteration_scores",
        (RUN,),
        [("validation_scores.add_iteration_scores(validation_scores.scores[0])", None)],
        raises=ValueError,
        note="adds scores that are in the list already, which the page says is an error",
    ),
    plain("ValidationScores.delete_after", (RUN,), "validation_scores.delete_after(0)"),
    plain("ValidationScores.validated_until", (RUN,), "validation_scores.validated_until()"),
    plain("ValidationScores.compare", (RUN,), "validation_scores.compare([validation_scores.scores[0]])"),
    plain("ValidationScores.criteria", (RUN,), "validation_scores.criteria"),
    plain("ValidationScores.parameter_names", (RUN,), "validation_scores.parameter_names"),
    plain("ValidationScores.to_xarray", (RUN,), "validation_scores.to_xarray()"),
    plain("ValidationScores.get_best", (RUN,), 'validation_scores.get_best(data, "iterations")'),
    plain("Start.initialize_weights", (RUN,), "model = start.initialize_weights(model, new_head)"),
    plain(
        "Run.get_validation_scores",
        (RUN,),
        "validation_scores = Run.get_validation_scores(run_config)",
        "validation_scores",
        shows="ValidationScores object",
    ),
    plain("Run.move_optimizer", (RUN,), "run.move_optimizer(device)", "run.optimizer", shows="Optimizer object"),
    plain("Predictor.create_model", (DUMMY_PREDICTOR,), "predictor.create_model(architecture)"),
    plain("Predictor.create_target", (DUMMY_PREDICTOR,), "predictor.create_target(gt)"),
    plain(
        "Predictor.create_weight",
        (DUMMY_PREDICTOR,),
        "predictor.create_weight(gt, target, mask, moving_class_counts)",
    ),
    plain("Predictor.gt_region_for_roi", (DUMMY_PREDICTOR,), "predictor.gt_region_for_roi(target_spec)"),
    plain("Predictor.padding", (DUMMY_PREDICTOR,), "predictor.padding(gt_voxel_size)"),
    plain(
        "EmbeddingArray.interpolatable",
        (DUMMY_PREDICTOR,),
        "embedding_array = EmbeddingArray(embedding_dims=10)",
        "embedding_array.interpolatable",
        shows="True",
    ),
    plain("NumpyArray.attrs", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.attrs", shows="{}"),
    plain(
        "NumpyArray.from_gp_array",
        (DUMMY_PREDICTOR,),
        "array = gp.Array("
        "data=np.zeros((2, 3, 4)), spec=gp.ArraySpec(roi=Roi((0, 0, 0), (2, 3, 4)), voxel_size=Coordinate((1, 1, 1))))",
        "array = NumpyArray.from_gp_array(array)",
        "array.data",
        shows=ZEROS,
    ),
    plain("NumpyArray.from_np_array", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.data", shows=ZEROS),
    plain("NumpyArray.axes", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.axes", shows="['z', 'y', 'x']"),
    plain("NumpyArray.dims", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.dims", shows="3"),
    plain("NumpyArray.voxel_size", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.voxel_size", shows="Coordinate((1, 1, 1))"),
    plain("NumpyArray.roi", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.roi", shows="Roi((0, 0, 0), (2, 3, 4))"),
    plain("NumpyArray.writable", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.writable", shows="True"),
    plain("NumpyArray.data", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.data", shows=ZEROS),
    plain("NumpyArray.dtype", (DUMMY_PREDICTOR,), MAKE_ARRAY, "array.dtype", shows="dtype('float64')"),
    Block(
        "NumpyArray.num_channels",
        (DUMMY_PREDICTOR,),
        [
            (
                "array = NumpyArray.from_np_array(np.zeros((1, 2, 3, 4)), Roi((0, 0, 0), (1, 2, 3)),"
                ' Coordinate((1, 1, 1)), ["b", "c", "z", "y", "x"])\narray.num_channels',
                "1",
            ),
            (MAKE_ARRAY + "\narray.num_channels", "ValueError: Array does not have a channel dimension."),
        ],
        warns="was given the axes",
        note="names five axes for an array of four, and a roi that holds fewer voxels than the array",
    ),
    plain("DummyPredictor.create_model", (DUMMY_PREDICTOR,), "model = predictor.create_model(architecture)"),
    plain("DummyPredictor.create_target", (DUMMY_PREDICTOR,), "predictor.create_target(gt)"),
    plain(
        "DummyPredictor.create_weight",
        (DUMMY_PREDICTOR,),
        "predictor.create_weight(gt, target, mask, moving_class_counts)",
    ),
    plain("DummyPredictor.output_array_type", (DUMMY_PREDICTOR,), "predictor.output_array_type"),
]
