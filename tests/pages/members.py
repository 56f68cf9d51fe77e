"""Every class, attribute, property and method that the interface pages name, with the parameters of methods.

Members are written as the kind and the name; ``abstract``, ``static`` and ``class`` come before the kind.
"""

from __future__ import annotations

from .blocks import ARCHITECTURES, DUMMY_PREDICTOR, DUMMY_TRAINER, MODELS, RUN, TRAINERS

EXPERIMENTS = "dacapo.experiments"

# The names that each page lists as those of its module.
NAMES = {
    DUMMY_TRAINER: ["TrainingIterationStats", "Trainer", "Model", "DummyTrainer"],
    EXPERIMENTS: [
        "Model",
        "RunConfig",
        "TrainingIterationStats",
        "TrainingStats",
        "ValidationIterationScores",
        "ValidationScores",
    ],
    RUN: [
        "DataSplit",
        "Task",
        "Architecture",
        "Trainer",
        "TrainingStats",
        "ValidationScores",
        "Start",
        "Model",
        "Run",
    ],
    "dacapo.experiments.model": ["Architecture", "Model"],
    DUMMY_PREDICTOR: ["Predictor", "Model", "EmbeddingArray", "NumpyArray", "DummyPredictor"],
}

# Packages and modules that the page of dacapo.experiments lists.
MODULES = [
    "architectures",
    "arraytypes",
    "datasplits",
    "starts",
    "tasks",
    "trainers",
    "model",
    "run",
    "run_config",
    "training_iteration_stats",
    "training_stats",
    "validation_iteration_scores",
    "validation_scores",
]

# Parameters of classes; those left out are not stated.
CONSTRUCTORS = {
    "Model": "architecture, prediction_head, eval_activation=None",
    "DummyTrainer": "trainer_config",
    "Start": "start_config",
    "Run": "run_config, load_starter_model=True",
    "NumpyArray": "array_config",
    "DummyPredictor": "embedding_dims",
}

# By class: the pages that have it, and its members.
MEMBERS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "TrainingIterationStats": (
        (DUMMY_TRAINER, EXPERIMENTS),
        ["attribute iteration", "attribute loss", "attribute time"],
    ),
    "Trainer": (
        TRAINERS,
        [
            "attribute iteration",
            "attribute batch_size",
            "attribute learning_rate",
            "abstract method create_optimizer(model)",
            "abstract method iterate(num_iterations, model, optimizer, device)",
            "abstract method can_train(datasets)",
            "abstract method build_batch_provider(datasets, model, task, snapshot_container)",
        ],
    ),
    "Model": (
        (*MODELS, EXPERIMENTS),
        [
            "attribute architecture",
            "attribute prediction_head",
            "attribute chain",
            "attribute num_in_channels",
            "attribute input_shape",
            "attribute eval_input_shape",
            "attribute num_out_channels",
            "attribute output_shape",
            "attribute eval_activation",
            "method forward(x)",
            "method compute_output_shape(input_shape)",
            "method scale(voxel_size)",
        ],
    ),
    "DummyTrainer": (
        (DUMMY_TRAINER,),
        [
            "attribute learning_rate",
            "attribute batch_size",
            "attribute mirror_augment",
            "attribute iteration",
            "method create_optimizer(model)",
            "method iterate(num_iterations, model, optimizer, device)",
            "method build_batch_provider(datasplit, architecture, task, snapshot_container)",
            "method can_train(datasplit)",
            "method __enter__()",
            "method __exit__(exc_type, exc_val, exc_tb)",
        ],
    ),
    "RunConfig": (
        (EXPERIMENTS,),
        [
            "attribute task_config",
            "attribute architecture_config",
            "attribute trainer_config",
            "attribute datasplit_config",
            "attribute name",
            "attribute repetition",
            "attribute num_iterations",
            "attribute validation_interval",
            "attribute start_config",
        ],
    ),
    "TrainingStats": (
        (EXPERIMENTS, RUN),
        [
            "attribute iteration_stats",
            "method add_iteration_stats(iteration_stats)",
            "method delete_after(iteration)",
            "method trained_until()",
            "method to_xarray()",
        ],
    ),
    "ValidationIterationScores": ((EXPERIMENTS,), ["attribute iteration", "attribute scores"]),
    "ValidationScores": (
        (EXPERIMENTS, RUN),
        [
            "property criteria",
            "property parameter_names",
            "attribute parameters",
            "attribute datasets",
            "attribute evaluation_scores",
            "attribute scores",
            "method subscores(iteration_scores)",
            "method add_iteration_scores(iteration_scores)",
            "method delete_after(iteration)",
            "method validated_until()",
            "method compare(existing_iteration_scores)",
            "method to_xarray()",
            "method get_best(data, dim)",
        ],
    ),
    "DataSplit": ((RUN,), ["attribute train", "attribute validate"]),
    "Task": (
        (RUN,),
        [
            "attribute predictor",
            "attribute loss",
            "attribute evaluator",
            "attribute post_processor",
            "property parameters",
            "property evaluation_scores",
            "method create_model(architecture)",
        ],
    ),
    "Architecture": (
        ARCHITECTURES,
        [
            "abstract property input_shape",
            "property eval_shape_increase",
            "abstract property num_in_channels",
            "abstract property num_out_channels",
            "property dims",
            "method scale(input_voxel_size)",
        ],
    ),
    "Start": (
        (RUN,),
        [
            "attribute run",
            "attribute criterion",
            "attribute channels",
            "method initialize_weights(model, new_head=None)",
        ],
    ),
    "Run": (
        (RUN,),
        [
            "attribute name",
            "attribute train_until",
            "attribute validation_interval",
            "attribute task",
            "attribute architecture",
            "attribute trainer",
            "attribute model",
            "attribute optimizer",
            "attribute training_stats",
            "attribute start",
            "property datasplit",
            "property validation_scores",
            "static method get_validation_scores(run_config)",
            "method move_optimizer(device, empty_cuda_cache=False)",
        ],
    ),
    "Predictor": (
        (DUMMY_PREDICTOR,),
        [
            "abstract method create_model(architecture)",
            "abstract method create_target(gt)",
            "abstract method create_weight(gt, target, mask, moving_class_counts)",
            "abstract property output_array_type",
            "method gt_region_for_roi(target_spec)",
            "method padding(gt_voxel_size)",
        ],
    ),
    "EmbeddingArray": ((DUMMY_PREDICTOR,), ["attribute embedding_dims", "property interpolatable"]),
    "NumpyArray": (
        (DUMMY_PREDICTOR,),
        [
            "property attrs",
            "class method from_gp_array(array)",
            "class method from_np_array(array, roi, voxel_size, axes)",
            "property axes",
            "property dims",
            "property voxel_size",
            "property roi",
            "property writable",
            "property data",
            "property dtype",
            "property num_channels",
        ],
    ),
    "DummyPredictor": (
        (DUMMY_PREDICTOR,),
        [
            "attribute embedding_dims",
            "method create_model(architecture)",
            "method create_target(gt)",
            "method create_weight(gt, target, mask, moving_class_counts=None)",
            "property output_array_type",
        ],
    ),
}
