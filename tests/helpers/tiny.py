"""Settings of runs that take seconds: few images of Shapes, nets of a few channels."""

TINY = {
    "data": {"name": "shapes", "train_size": 120, "test_size": 60, "validation_size": 40},
    "resnet18": {"width": 8},
    "vit_small": {"dim": 16, "depth": 1, "heads": 2, "patch": 8},
    "training": {
        "standard": {
            "resnet18": {"epochs": 3, "batch_size": 40},
            "vit_small": {"epochs": 2, "optimizer": "adamw", "batch_size": 40},
            "alexnet": {"epochs": 2, "batch_size": 40},
        },
        "adversarial": {
            "steps": 2,
            "validation_images": 10,
            "resnet18": {"epochs": 2, "batch_size": 40},
        },
        "noise": {"resnet18": {"epochs": 1, "batch_size": 40}},
        "teacher": {
            "resnet18": {"epochs": 2, "batch_size": 20},
            "vit_small": {"epochs": 2, "optimizer": "adamw", "batch_size": 20},
        },
        "aligned": {
            "beta": 0.1,
            "reading": "as_written",
            "resnet18": {"epochs": 2, "batch_size": 40},
            "vit_small": {"epochs": 1, "batch_size": 40},
        },
    },
    "alexnet": {"width": 0.1},
    "pgd": {"n": 20, "steps": 3},
    "budgets": {"n": 20, "eps": [4, 16]},
    "autoattack": {"n": 20, "steps": 2, "queries": 5, "batch_size": 10},
    "smoothing": {"n": 20, "samples": 30, "selection_samples": 5},
    "corruptions": {"n": 20},
    "reliability": {"n": 60, "strong_steps": 4, "queries": 5},
    "faithfulness": {"n": 10, "steps": 4, "randomized_n": 4},
    "attacked_saliency": {"n": 20},
    "swapped": {"n": 60},
    "alignment": {"shortcut_images": 120},
    "evaluation": {"batch_size": 16},
}
