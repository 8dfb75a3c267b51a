"""How an adapter is trained; every number that changes the result is in here and is kept with the version."""

from dataclasses import dataclass

from backend.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """One LoRA training. ``steps`` are updates of ``batch_size`` texts, at most, however few examples there are."""

    steps: int = 200
    batch_size: int = 16
    learning_rate: float = 1e-3  # peak, of the adapter
    head_lr_ratio: float = 10.0  # the head's rate is so many times the adapter's
    lora_rank: int = 8
    lora_alpha_ratio: float = 2.0  # alpha is so many times the rank
    dropout: float = 0.1  # before the head; the model's own dropout is as pretrained
    warmup: float = 0.1  # share of the steps
    plateau: float = (
        0.05  # a pass that adds less than this share to the fall of the loss ends the training; 0: none does
    )
    cooldown: float = 0.2  # share of the steps in which the rate goes down to 0 from there
    weight_decay: float = 0.01
    clip: float = 1.0
    smoothing: float = 0.05  # of the targets
    contrast: float = 0.5  # weight of the contrastive loss; 0 is none
    contrast_temperature: float = 0.1
    warm_start: float = 0.0  # share of the version before that the weights start from; the rest is fresh
    average: float = 0.3  # weight of the version before in the average of its weights and those that were trained
    self_training: float = 0.0  # what the active version is surer of teaches too; 0: nothing does
    self_weight: float = 0.5  # of such an example; an annotator's is 1
    self_after: int = 100  # labels
    text_steps: int = 100  # of a generator, and so on
    text_learning_rate: float = 5e-4
    text_batch_size: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.lora_rank, self.text_steps, self.text_batch_size) < 1:
            raise ValueError(f"steps, batch_size and lora_rank must be at least 1: {self}")
        shares = (self.dropout, self.smoothing, self.plateau, self.cooldown)
        if not (0 <= self.warmup <= 1 and all(0 <= share < 1 for share in shares)):
            raise ValueError(f"warmup, dropout, smoothing, plateau and cooldown must be shares: {self}")
        if not (0 <= self.warm_start <= 1 and 0 <= self.average < 1):
            raise ValueError(f"warm_start and average must be shares: {self}")
        if not (0 <= self.self_training < 1 and 0 < self.self_weight < 1 and self.self_after >= 0):
            raise ValueError(f"self_training must be a probability and self_weight must be between 0 and 1: {self}")
        if self.contrast < 0 or self.contrast_temperature <= 0:
            raise ValueError(f"contrast must be at least 0 and its temperature must be positive: {self}")

    @classmethod
    def from_settings(cls, settings: Settings) -> "Recipe":
        """The recipe of these settings."""
        return cls(
            steps=settings.train_steps,
            batch_size=settings.train_batch_size,
            learning_rate=settings.learning_rate,
            lora_rank=settings.lora_rank,
            warm_start=settings.warm_start,
            average=settings.average_versions,
            self_training=settings.self_training,
            text_steps=settings.text_train_steps,
            text_learning_rate=settings.text_learning_rate,
            seed=settings.seed,
        )
